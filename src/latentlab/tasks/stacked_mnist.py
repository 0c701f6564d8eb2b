"""Stacked images: the number of K³ modes that a GAN covers, and how evenly it covers them.

Three training images, drawn independently, are the channels of one color image. K classes make K³
modes: 1,000 for MNIST. A classifier predicts the class of each channel; three classes are a mode.

    KL(q ‖ p) = Σ_m q(m) log(q(m) / p(m)),   p(a, b, c) = p(a) p(b) p(c)

q: frequencies of the modes among N samples. p(a): frequency of class a in the training split. N
samples of p itself have a KL of about (K³ − 1) / 2N for N much larger than K³: 0.019 for MNIST and
N = 26,000. Because the classifier also makes errors, stacked test images are the reference.

Metz et al. 2017, "Unrolled GANs"; Srivastava et al. 2017, "VEEGAN", and Lin et al. 2018, "PacGAN",
with N = 26,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentlab.contracts import Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.metrics.fid.features import extract
from latentlab.networks.conv import Discriminator, Generator, init_dcgan
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import train_gan
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import seeded
from latentlab.tasks.common.requirements import labels_of, require_at_least
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import save_grid

CHANNELS = 3
BATCH = 500
COLUMNS, ROWS = 12, 2  # samples in the figure, for each row of the table
REAL = "real images"
METHODS: Mapping[str, DiscriminatorRegularization] = {
    "DCGAN": DiscriminatorRegularization(),
    "packing 2": DiscriminatorRegularization(packing=2),
    "R1": DiscriminatorRegularization(r1_gamma=1.0),
}
PUBLISHED = {"DCGAN": 99.0, "VEEGAN": 150.0, "PacDCGAN2": 1000.0}  # modes, Lin et al. 2018
SUMMARY = (
    "Three grey images are the channels of one image, so there are {:,} modes. A classifier"
    " predicts the class of each channel. modes_covered: number of modes among {:,} samples,"
    " higher is better. kl_nats: KL divergence of their frequencies from the training split, in"
    " nats, 0 is best. Each GAN is trained once, on {:,} images, with networks of width {}. The"
    " classifier makes errors and also assigns a class to poor images: compare with the row of"
    " real images (stacked test images) and look at the figure. Published rows: Lin et al. 2018,"
    " for 1,000 modes of MNIST and 26,000 samples, with larger networks and longer training."
)

SampleFunction = Callable[[int], Tensor]  # N → stacked images (N, 3, H, W) in [0, 1]
ClassifierFunction = Callable[[Tensor], Tensor]  # images (N, 1, H, W) → logits (N, K)


@dataclass(frozen=True)
class StackedMNIST(Task):
    """Each GAN trains on `total_images` stacked images by Adam, with a rate from `lr` down to 0.

    `width`: channels of the widest feature map. `num_samples`: samples that are classified, of each
    GAN and of the stacked test images.
    """

    total_images: int = 100_000
    num_samples: int = 26_000
    width: int = 16
    latent_dim: int = 64
    batch_size: int = 32
    lr: float = 1e-3

    def __post_init__(self) -> None:
        require_at_least(
            1, self, "total_images", "num_samples", "width", "latent_dim", "batch_size"
        )

    def run(self, context: Context) -> Result:
        classifier, frequencies = check_classes(context)
        train, test = context.evaluator.train, context.evaluator.test
        scores, shown = {}, []
        for name in (REAL, *METHODS):
            with seeded(context.seed):
                real = name == REAL
                sample = partial(stack, test) if real else self.train_gan(train, METHODS[name])
                first, predicted = self.classify_samples(sample, classifier)
            scores[name] = score(predicted, frequencies)
            shown.append(first)
        return self._result(scores, torch.cat(shown), len(frequencies) ** CHANNELS)

    def train_gan(
        self, train: Split, regularization: DiscriminatorRegularization
    ) -> SampleFunction:
        """Train a DCGAN. Return the function that samples from it."""
        shape = (CHANNELS, *train.images.shape[2:])
        generator = nn.Sequential(
            Generator(shape, latent_dim=self.latent_dim, width=self.width), nn.Tanh()
        )
        discriminator = Discriminator(
            regularization.packed_shape(shape),
            width=self.width,
            batch_norm=regularization.batch_norm,
        )
        for network in (generator, discriminator):
            network.apply(init_dcgan).to(memory_format=torch.channels_last)
        train_gan(
            generator,
            regularization.apply_to(discriminator),
            real=lambda: 2 * stack(train, self.batch_size) - 1,
            codes=lambda: torch.randn(self.batch_size, self.latent_dim),
            loss="non_saturating",
            regularization=regularization,
            steps=-(-self.total_images // self.batch_size),
            lr=self.lr,
        )
        generator.eval()
        return lambda count: (generator(torch.randn(count, self.latent_dim)) + 1) / 2

    @torch.no_grad()
    def classify_samples(
        self, sample: SampleFunction, classifier: ClassifierFunction
    ) -> tuple[Tensor, Tensor]:
        """The first samples for the figure, and the predicted classes (N, 3) of all samples."""
        first, predicted = torch.empty(0), []
        for start in range(0, self.num_samples, BATCH):
            x = sample(min(BATCH, self.num_samples - start))
            first = first if start else x[: COLUMNS * ROWS]
            predicted.append(classify_channels(x, classifier))
        return first, torch.cat(predicted)

    def _result(self, scores: dict[str, dict[str, float]], shown: Tensor, num_modes: int) -> Result:
        caption = f"Samples, two rows each, from top to bottom: {', '.join(scores)}"
        published = {f"{k} (published)": {"modes_covered": n} for k, n in PUBLISHED.items()}
        return Result(
            title="Stacked images",
            summary=SUMMARY.format(num_modes, self.num_samples, self.total_images, self.width),
            metrics={
                f"{name.replace(' ', '_').lower()}_{key}": value
                for name, row in scores.items()
                for key, value in row.items()
            },
            table=scores | published,
            figures=[Figure("samples", caption, partial(save_grid, shown, columns=COLUMNS))],
        )


def stack(split: Split, count: int) -> Tensor:
    """Stack three grey images of the split, drawn independently: (N, 3, H, W) in [0, 1]."""
    rows = torch.randint(len(split), (count, CHANNELS))
    return to_float(split.images[rows].squeeze(2))


def classify_channels(x: Tensor, classifier: ClassifierFunction) -> Tensor:
    """Predicted class of each channel of stacked images (N, 3, H, W): int64 (N, 3)."""
    return extract(classifier, x.flatten(0, 1).unsqueeze(1)).argmax(1).unflatten(0, (-1, CHANNELS))


def score(predicted: Tensor, frequencies: Tensor) -> dict[str, float]:
    """Covered modes among classes (N, 3), and their KL from independent `frequencies` (K,).

    The KL is infinite if a class with a frequency of 0 was predicted.
    """
    modes, counts = predicted.unique(dim=0, return_counts=True)
    q, p = counts.double() / len(predicted), frequencies[modes].prod(1)
    return {"modes_covered": float(len(modes)), "kl_nats": float((q * (q / p).log()).sum())}


def check_classes(context: Context) -> tuple[ClassifierFunction, Tensor]:
    """The classifier, and the frequency (K,) of each class in the training split.

    Raises LatentlabError for images without labels or with more than one channel.
    """
    classifier, train = context.evaluator.classifier, context.evaluator.train
    if classifier is None or train.labels is None:
        raise LatentlabError(
            "the images have no labels, so there is no classifier, which this task needs. Remove"
            " the task from params.yaml, or select data with labels of two or more classes"
        )
    if (channels := context.dataset.image_shape[0]) != 1:
        raise LatentlabError(
            f"the images have {channels} channels: this task needs images with 1 channel. Set"
            " data.channels to 1, or remove the task from params.yaml"
        )
    counts = labels_of(train).bincount(minlength=context.dataset.num_classes).double()
    return classifier, counts / len(train)
