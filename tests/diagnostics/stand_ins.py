"""Models, data and evaluators for the tests of diagnostics: their results are known in advance."""

from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float, to_uint8
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.evaluator import Evaluator
from latentlab.samplers import with_class
from latentlab.transforms.corruption import box_downsample, gaussian

THIRDS_SHAPE, NUM_CLASSES, NAMES = (1, 6, 6), 3, ("left", "middle", "right")


def thirds(x):
    """Mean intensity of each third (B, 3): logits of a classifier that is always correct."""
    return x.unflatten(3, (3, 2)).mean((1, 2, 4))


def bright_third(y, level):
    """Images (B, 1, 6, 6) that are 0 except for the third y (B,), which has intensity `level`."""
    x = torch.zeros(len(y), *THIRDS_SHAPE)
    for row, third in enumerate(y.tolist()):
        x[row, :, :, 2 * third : 2 * third + 2] = level[row]
    return x


def thirds_split(count, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, NUM_CLASSES, (count,), generator=g)
    return Split(to_uint8(bright_third(y, 0.4 + torch.rand(count, generator=g) / 2)), y)


def thirds_evaluator():
    counts = {"train": 300, "val": 9, "test": 200}
    dataset = DatasetInfo("toy", THIRDS_SHAPE, NAMES, counts, (), 0, "0")
    settings = EvaluationSettings()
    return Evaluator(dataset, thirds_split(300, 0), thirds_split(200, 1), thirds, thirds, settings)


class ThirdsGenerator:
    """Codes: noise, then a class. The class selects the bright third, noise its intensity.

    `order`: the third of each class.
    """

    num_classes, latent_dim = NUM_CLASSES, 5

    def __init__(self, order=(0, 1, 2)):
        self.order = torch.tensor(order)

    def condition(self, z, y):
        return with_class(z, y, NUM_CLASSES)

    def decode(self, z):
        return bright_third(self.order[z[:, -NUM_CLASSES:].argmax(1)], 0.5 + z[:, 0].sigmoid() / 2)


def sampling(model, prior):
    """The model and a prior as a TrainedModel that samples and decodes."""
    prior.num_classes, prior.num_continuous = NUM_CLASSES, 1

    def sample_latents(count, *, seed=0):
        return prior.sample((count, model.latent_dim), torch.Generator().manual_seed(seed))

    decode = torch.inference_mode()(model.decode)
    return SimpleNamespace(module=model, sample_latents=sample_latents, decode=decode)


class FlattenedImage:
    """A model whose code is the image: 2×2 pixels, latent_dim 4."""

    family, standard_normal_prior, latent_dim = "VAE", True, 4

    def encode(self, x):
        return x.flatten(1)


def on_2x2(module, **attributes):
    """`module` as a TrainedModel whose decoder only reshapes codes to 2×2 pixels."""
    return SimpleNamespace(
        module=module,
        encode=getattr(module, "encode", None),
        decode=lambda z: z.clamp(0, 1).unflatten(1, (1, 2, 2)),
        reconstruct=lambda x: x,
        **attributes,
    )


def evaluator_of(images):
    """An evaluator without a classifier, with `images` as training and as test split."""
    split = Split(images)
    return SimpleNamespace(
        train=split,
        test=split,
        feature_extractor=lambda x: x.flatten(1),
        classifier=None,
        settings=SimpleNamespace(seed=0),
    )


def two_clusters(count=400):
    """uint8 images (N, 1, 2, 2): dark or bright, with little noise."""
    cluster = torch.randint(2, (count, 1)) * 140 + 50
    noise = torch.randint(-20, 20, (count, 4))
    return (cluster + noise).to(torch.uint8).view(count, 1, 2, 2)


def save_figures(result, folder: Path):
    """Save all figures of a result. Return {name: (width, height)}; every PNG must be readable."""
    sizes = {}
    for figure in result.figures:
        figure.save(folder / f"{figure.name}.png")
        with Image.open(folder / f"{figure.name}.png") as image:
            image.load()
            sizes[figure.name] = image.size
    return sizes


CORRELATED_SHAPE = (1, 4, 4)


def correlated_images(count, seed):
    """Images (N, 1, 4, 4) near a space of 3 dimensions, with labels. One pixel is constant."""
    g = torch.Generator().manual_seed(9)
    mix = torch.rand(3, 16, generator=g)
    g.manual_seed(seed)
    x = 3 * torch.rand(count, 3, generator=g) @ mix
    x = x + 0.1 * torch.rand(count, 16, generator=g)
    x[:, 5] = 0.5
    return Split((20 * x).to(torch.uint8).view(-1, *CORRELATED_SHAPE), torch.arange(count) % 3)


def correlated_evaluator():
    counts = {"train": 300, "val": 9, "test": 80}
    dataset = DatasetInfo("toy", CORRELATED_SHAPE, tuple("abc"), counts, (), 0, "0")
    train, test = correlated_images(300, 0), correlated_images(80, 1)
    return Evaluator(dataset, train, test, lambda x: x.flatten(1), None, EvaluationSettings())


class Lookup(torch.nn.Module):
    """Denoises and upsamples perfectly: it returns the stored test images in their order."""

    scale = 2

    def __init__(self, test):
        super().__init__()
        self.images, self.position = to_float(test.images), 0

    def next_images(self, x):
        assert not torch.is_grad_enabled()
        self.position += len(x)
        return self.images[self.position - len(x) : self.position]

    def corrupt(self, x, generator=None):
        return gaussian(x, 0.2, generator)

    denoise = upsample = next_images

    def downsample(self, x):
        return box_downsample(x, 2)


def noise_evaluator(count=60, side=8, train=4000):
    """Images whose pixels are uniform noise, without labels."""
    g = torch.Generator().manual_seed(0)
    images = [torch.rand(n, 1, side, side, generator=g) for n in (train, count)]
    train, test = (Split((255 * x).round().to(torch.uint8)) for x in images)
    return SimpleNamespace(train=train, test=test, settings=SimpleNamespace(seed=0))


def figure_inputs(result, name):
    """What a figure of a result is drawn from: the images, or the curves."""
    (figure,) = [figure for figure in result.figures if figure.name == name]
    return figure.save.args
