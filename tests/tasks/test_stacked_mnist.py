"""Modes and KL against scipy, a classifier without errors, and short trainings."""

import dataclasses
import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy

from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.metrics.fid.features import extract
from latentlab.tasks.common.context import Context
from latentlab.tasks.stacked_mnist import (
    METHODS,
    REAL,
    StackedMNIST,
    classify_channels,
    score,
    stack,
)
from latentlab.utils.errors import LatentlabError

LEVELS = (20, 120, 220)  # the intensity of each class
TINY = StackedMNIST(total_images=24, num_samples=130, width=4, latent_dim=4, batch_size=12)


def grey(count, seed):
    """Constant images. Their intensity is their class; class 0 is twice as frequent as 1 and 2."""
    labels = torch.tensor([0, 0, 1, 2])[
        torch.randint(4, (count,), generator=torch.Generator().manual_seed(seed))
    ]
    x = torch.tensor(LEVELS, dtype=torch.uint8)[labels]
    return Split(x[:, None, None, None].expand(-1, 1, 8, 8).contiguous(), labels)


def classifier(x):
    """Logits (N, 3): the class is that of the nearest intensity, so there are no errors."""
    assert x.shape[1:] == (1, 8, 8), "the classifier gets single grey images"
    return -(x.mean((1, 2, 3))[:, None] * 255 - torch.tensor(LEVELS)).abs()


@pytest.fixture
def context():
    train, test = grey(400, 0), grey(300, 1)
    dataset = DatasetInfo("grey", (1, 8, 8), ("a", "b", "c"), {}, (), 0, "")
    evaluator = SimpleNamespace(train=train, test=test, dataset=dataset, classifier=classifier)
    return Context(SimpleNamespace(seed=0), evaluator, test, None)


def count_modes(predicted, frequencies):
    """(modes, KL), computed by counting tuples, and by scipy over all K³ modes."""
    counted = Counter(map(tuple, predicted.tolist()))
    modes = list(itertools.product(range(len(frequencies)), repeat=3))
    q = np.array([counted[mode] for mode in modes], dtype=float)
    p = np.array([frequencies[a] * frequencies[b] * frequencies[c] for a, b, c in modes])
    return len(counted), entropy(q, p)


@pytest.mark.parametrize("count", [1, 40, 5000])
def test_modes_and_kl_are_those_of_the_full_histogram(count):
    frequencies = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    predicted = torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 3 * count, True).view(
        count, 3
    )
    modes, divergence = count_modes(predicted, frequencies.tolist())
    assert score(predicted, frequencies)["modes_covered"] == modes
    assert score(predicted, frequencies)["kl_nats"] == pytest.approx(divergence, rel=1e-12)


def test_kl_is_zero_for_independent_classes_and_known_for_one_mode():
    """Frequencies 1/2, 1/4, 1/4: 64 triples have each mode with its probability."""
    labels = torch.tensor([0, 0, 1, 2])
    frequencies = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    assert score(torch.cartesian_prod(labels, labels, labels), frequencies) == {
        "modes_covered": 27,
        "kl_nats": 0,
    }
    collapsed = score(torch.tensor([[0, 1, 2]]).expand(9, 3), frequencies)
    assert collapsed == {"modes_covered": 1, "kl_nats": pytest.approx(np.log(32))}


def test_samples_of_p_have_the_kl_of_the_docstring():
    """(K³ − 1) / 2N, the mean of Wilks' statistic over 2N; averaged over 20 samples."""
    frequencies = torch.full((4,), 0.25, dtype=torch.float64)
    values = [score(torch.randint(4, (4000, 3)), frequencies)["kl_nats"] for _ in range(20)]
    assert np.mean(values) == pytest.approx(63 / 8000, rel=0.15)


def test_channels_are_three_independent_images_of_the_split():
    split = grey(5, 3)
    split.images[:] = torch.arange(5, dtype=torch.uint8)[:, None, None, None] * 50
    x = stack(split, 6000)
    assert x.shape == (6000, 3, 8, 8)
    indices = (x[:, :, 0, 0] * 255 / 50).round().long()
    torch.testing.assert_close(x, (indices * 50 / 255)[:, :, None, None].expand_as(x))
    joint = np.histogramdd(indices.numpy(), bins=[np.arange(6)] * 3)[0] / 6000
    assert abs(joint - 1 / 125).max() < 6 * (1 / 125 / 6000) ** 0.5, (
        "all triples have equal frequencies"
    )


def test_each_channel_gets_the_class_of_its_image():
    split = grey(50, 4)
    rows = torch.randint(50, (40, 3))
    x = split.images[rows].squeeze(2) / 255
    assert torch.equal(classify_channels(x, classifier), split.labels[rows])


def test_real_images_have_the_score_of_their_labels(context):
    result = dataclasses.replace(TINY, num_samples=1200).run(context)
    labels = context.evaluator.test.labels
    frequencies = np.bincount(context.evaluator.train.labels) / 400
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        predicted = [labels[torch.randint(300, (count, 3))] for count in (500, 500, 200)]
    modes, divergence = count_modes(torch.cat(predicted), frequencies)
    assert result.table[REAL] == {
        "modes_covered": modes,
        "kl_nats": pytest.approx(divergence, rel=1e-9),
    }


def test_every_regularization_is_trained_and_depends_only_on_the_seed(context, tmp_path):
    result = TINY.run(context)
    published = {f"{name} (published)" for name in ("DCGAN", "VEEGAN", "PacDCGAN2")}
    assert set(result.table) == {REAL, *METHODS, *published}
    assert "27 modes" in result.summary
    assert "130 samples" in result.summary
    torch.manual_seed(99)
    assert TINY.run(context).metrics == result.metrics, "the global generator has no influence"
    (figure,) = result.figures
    figure.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image)[::8, ::8]  # 8 × 8 pixels, enlarged 8 times, with gaps of 1
    assert pixels.shape == (2 * 9 * (1 + len(METHODS)) - 1, 12 * 9 - 1, 4)
    colors = {tuple(pixels[9 * row, 9 * column, :3]) for row in range(2) for column in range(12)}
    expected = set(itertools.product(LEVELS, repeat=3))
    assert colors <= expected, "the first two rows are stacked real images"
    assert len(colors) > 5


def test_packing_gives_the_discriminator_two_real_or_two_generated_images(context, monkeypatch):
    inputs = []

    class RecordingDiscriminator(torch.nn.Module):
        def __init__(self, image_shape, *, width, batch_norm):
            super().__init__()
            self.shape, self.scale = image_shape, torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            assert x.shape[1:] == self.shape
            inputs.append(x.detach())
            return self.scale * x.mean((1, 2, 3))

    monkeypatch.setattr("latentlab.tasks.stacked_mnist.Discriminator", RecordingDiscriminator)
    TINY.train_gan(context.evaluator.train, METHODS["packing 2"])
    assert [tuple(x.shape) for x in inputs] == [
        (6, 6, 8, 8)
    ] * 6  # in 2 batches: real, fake, fake for the generator
    real = torch.tensor(LEVELS) / 127.5 - 1
    for step, x in enumerate(inputs):
        near = (x[..., None] - real).abs().amin(-1)
        assert bool((near < 1e-6).all()) == (step % 3 == 0), "real, generated, generated"


def test_training_moves_the_mean_intensity_towards_the_data(context):
    train = context.evaluator.train
    mean_intensity = train.images.float().mean() / 255

    def error(images):
        torch.manual_seed(0)
        task = dataclasses.replace(TINY, total_images=images, width=8)
        x = task.train_gan(train, METHODS["R1"])(200).detach()
        assert x.min() >= 0
        assert x.max() <= 1
        return float(abs(x.mean() - mean_intensity))

    assert error(4000) < 0.5 * error(1)


def test_on_digits_real_stacks_cover_most_of_a_thousand_modes():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels)
    train, test = Split(x[:1400], y[:1400]), Split(x[1400:], y[1400:])
    centers = torch.stack([train.images[train.labels == k].float().mean(0) for k in range(10)])

    def nearest(images):
        return -torch.cdist(images.flatten(1) * 255, centers.flatten(1))

    dataset = DatasetInfo("digits", (1, 8, 8), tuple("0123456789"), {}, (), 0, "")
    evaluator = SimpleNamespace(train=train, test=test, dataset=dataset, classifier=nearest)
    digits = Context(SimpleNamespace(seed=0), evaluator, test, None)
    result = dataclasses.replace(TINY, num_samples=4000).run(digits)
    accuracy = (extract(nearest, test).argmax(1) == test.labels).float().mean()
    assert accuracy > 0.8
    # 4 samples per mode: a fraction 1 − e⁻⁴ of 1,000 modes, if all had equal frequencies
    assert 950 < result.table[REAL]["modes_covered"] < 1000
    assert all(
        result.table[name]["kl_nats"] > 2 * result.table[REAL]["kl_nats"] for name in METHODS
    )


@pytest.mark.parametrize(
    "key", ["total_images", "num_samples", "width", "latent_dim", "batch_size"]
)
def test_impossible_settings_are_refused(key):
    with pytest.raises(LatentlabError, match=f"{key} is 0: it must be ≥ 1"):
        StackedMNIST(**{key: 0})


def test_images_without_labels_are_refused(context):
    evaluator = SimpleNamespace(**{**vars(context.evaluator), "classifier": None})
    with pytest.raises(
        LatentlabError, match=r"no labels, so there is no classifier.*select data with labels"
    ):
        TINY.run(dataclasses.replace(context, evaluator=evaluator))
    evaluator = SimpleNamespace(
        **{**vars(context.evaluator), "train": Split(context.evaluator.train.images)}
    )
    with pytest.raises(LatentlabError, match="no labels"):
        TINY.run(dataclasses.replace(context, evaluator=evaluator))


def test_color_images_are_refused(context):
    dataset = dataclasses.replace(context.dataset, image_shape=(3, 8, 8))
    evaluator = SimpleNamespace(**{**vars(context.evaluator), "dataset": dataset})
    with pytest.raises(LatentlabError, match=r"images have 3 channels.*Set data\.channels to 1"):
        TINY.run(dataclasses.replace(context, evaluator=evaluator))


def test_an_image_size_that_cannot_be_halved_is_refused(context):
    odd = Split(torch.zeros(9, 1, 9, 9, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    with pytest.raises(ValueError, match="9×9 pixels do not fit"):
        TINY.train_gan(odd, METHODS["DCGAN"])
