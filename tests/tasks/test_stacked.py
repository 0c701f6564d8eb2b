"""Stacked images: modes by hand, KL by scipy, a judge that cannot err, games that are played."""

import dataclasses
import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy

from latentlab.contracts import LatentlabError, Split
from latentlab.data.prepared import Meta
from latentlab.metrics.features import extract
from latentlab.tasks import Context
from latentlab.tasks.stacked import CURES, REAL, Stacked, classes_of, score, stacks

LEVELS = (20, 120, 220)  # the grey of each class
TINY = Stacked(images=24, samples=130, width=4, latent_dim=4, batch_size=12)


def grey(count, seed):
    """Flat images, class 0 twice as frequent as 1 and 2, whose class is their grey."""
    labels = torch.tensor([0, 0, 1, 2])[
        torch.randint(4, (count,), generator=torch.Generator().manual_seed(seed))
    ]
    x = torch.tensor(LEVELS, dtype=torch.uint8)[labels]
    return Split(x[:, None, None, None].expand(-1, 1, 8, 8).contiguous(), labels)


def judge(x):
    """Logits (N, 3): the nearest grey is the class, so it is never wrong."""
    assert x.shape[1:] == (1, 8, 8), "the judge sees grey images, one at a time"
    return -(x.mean((1, 2, 3))[:, None] * 255 - torch.tensor(LEVELS)).abs()


@pytest.fixture
def context():
    train, test = grey(400, 0), grey(300, 1)
    meta = Meta("grey", (1, 8, 8), ("a", "b", "c"), {}, (), 0, "")
    yard = SimpleNamespace(train=train, test=test, meta=meta, judge=judge)
    return Context(SimpleNamespace(seed=0), meta, yard, test, None)


def brute(named, shares):
    """(modes, KL) by counting tuples and by scipy over all K³ modes."""
    counted = Counter(map(tuple, named.tolist()))
    modes = list(itertools.product(range(len(shares)), repeat=3))
    q = np.array([counted[mode] for mode in modes], dtype=float)
    p = np.array([shares[a] * shares[b] * shares[c] for a, b, c in modes])
    return len(counted), entropy(q, p)


@pytest.mark.parametrize("count", [1, 40, 5000])
def test_modes_and_divergence_are_those_of_the_whole_histogram(count):
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    named = torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 3 * count, True).view(count, 3)
    modes, divergence = brute(named, shares.tolist())
    assert score(named, shares)["modes"] == modes
    assert score(named, shares)["kl_nats"] == pytest.approx(divergence, rel=1e-12)


def test_the_divergence_is_zero_for_the_product_of_the_shares_and_log_of_the_rest_for_one_mode():
    """Shares 1/2, 1/4, 1/4: 64 triples hold each mode in its proportion."""
    urn = torch.tensor([0, 0, 1, 2])
    shares = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    assert score(torch.cartesian_prod(urn, urn, urn), shares) == {"modes": 27, "kl_nats": 0}
    collapsed = score(torch.tensor([[0, 1, 2]]).expand(9, 3), shares)
    assert collapsed == {"modes": 1, "kl_nats": pytest.approx(np.log(32))}


def test_draws_of_the_expected_shares_have_the_divergence_that_the_docstring_says():
    """(K³ − 1) / 2N, the mean of Wilks' statistic over 2N; here averaged over 20 draws."""
    shares = torch.full((4,), 0.25, dtype=torch.float64)
    found = [score(torch.randint(4, (4000, 3)), shares)["kl_nats"] for _ in range(20)]
    assert np.mean(found) == pytest.approx(63 / 8000, rel=0.15)


def test_channels_are_three_images_of_the_split_drawn_independently():
    split = grey(5, 3)
    split.images[:] = torch.arange(5, dtype=torch.uint8)[:, None, None, None] * 50
    x = stacks(split, 6000)
    assert x.shape == (6000, 3, 8, 8)
    drawn = (x[:, :, 0, 0] * 255 / 50).round().long()
    torch.testing.assert_close(x, (drawn * 50 / 255)[:, :, None, None].expand_as(x))
    joint = np.histogramdd(drawn.numpy(), bins=[np.arange(6)] * 3)[0] / 6000
    assert abs(joint - 1 / 125).max() < 6 * (1 / 125 / 6000) ** 0.5, "all triples equally often"


def test_each_channel_gets_the_class_of_its_image():
    split = grey(50, 4)
    rows = torch.randint(50, (40, 3))
    x = split.images[rows].squeeze(2) / 255
    assert torch.equal(classes_of(x, judge), split.labels[rows])


def test_real_images_are_scored_as_the_labels_themselves_would_be(context):
    finding = dataclasses.replace(TINY, samples=1200).run(context)
    labels = context.yard.test.labels
    shares = np.bincount(context.yard.train.labels) / 400
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        named = [labels[torch.randint(300, (count, 3))] for count in (500, 500, 200)]
    modes, divergence = brute(torch.cat(named), shares)
    assert finding.table[REAL] == {"modes": modes, "kl_nats": pytest.approx(divergence, rel=1e-9)}


def test_every_cure_plays_on_its_own_seed_and_is_drawn(context, tmp_path):
    finding = TINY.run(context)
    published = {f"{name} (published)" for name in ("DCGAN", "VEEGAN", "PacDCGAN2")}
    assert set(finding.table) == {REAL, *CURES, *published}
    assert "27 modes" in finding.text
    assert "130 samples" in finding.text
    torch.manual_seed(99)
    assert TINY.run(context).numbers == finding.numbers, "whatever was drawn before"
    (picture,) = finding.pictures
    picture.draw(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image)[::8, ::8]  # each of 8 × 8, enlarged 8 times, 1 apart
    assert pixels.shape == (2 * 9 * (1 + len(CURES)) - 1, 12 * 9 - 1, 4)
    seen = {tuple(pixels[9 * row, 9 * column, :3]) for row in range(2) for column in range(12)}
    assert seen <= set(itertools.product(LEVELS, repeat=3)), "real stacks are the first two rows"
    assert len(seen) > 5


def test_packing_shows_the_discriminator_two_stacks_of_one_kind(context, monkeypatch):
    seen = []

    class Watching(torch.nn.Module):
        def __init__(self, image_shape, *, width, batch_norm):
            super().__init__()
            self.shape, self.scale = image_shape, torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            assert x.shape[1:] == self.shape
            seen.append(x.detach())
            return self.scale * x.mean((1, 2, 3))

    monkeypatch.setattr("latentlab.tasks.stacked.Discriminator", Watching)
    TINY.play(context.yard.train, CURES["packing 2"])
    assert [tuple(x.shape) for x in seen] == [(6, 6, 8, 8)] * 6  # 2 batches: real, fake, G's
    real = torch.tensor(LEVELS) / 127.5 - 1
    for turn, x in enumerate(seen):
        near = (x[..., None] - real).abs().amin(-1)
        assert bool((near < 1e-6).all()) == (turn % 3 == 0), "images first, then fakes twice"


def test_a_game_brings_the_mean_grey_to_the_data(context):
    train = context.yard.train
    middle = train.images.float().mean() / 255

    def error(images):
        torch.manual_seed(0)
        task = dataclasses.replace(TINY, images=images, width=8)
        x = task.play(train, CURES["R1"])(200).detach()
        assert x.min() >= 0
        assert x.max() <= 1
        return float(abs(x.mean() - middle))

    assert error(4000) < 0.5 * error(1)


def test_on_digits_real_stacks_cover_most_of_a_thousand_modes():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels)
    train, test = Split(x[:1400], y[:1400]), Split(x[1400:], y[1400:])
    centres = torch.stack([train.images[train.labels == k].float().mean(0) for k in range(10)])

    def nearest(images):
        return -torch.cdist(images.flatten(1) * 255, centres.flatten(1))

    meta = Meta("digits", (1, 8, 8), tuple("0123456789"), {}, (), 0, "")
    yard = SimpleNamespace(train=train, test=test, meta=meta, judge=nearest)
    digits = Context(SimpleNamespace(seed=0), meta, yard, test, None)
    finding = dataclasses.replace(TINY, samples=4000).run(digits)
    right = (extract(nearest, test).argmax(1) == test.labels).float().mean()
    assert right > 0.8
    # 4 draws a mode: 1 − e⁻⁴ of 1,000, were all as frequent
    assert 950 < finding.table[REAL]["modes"] < 1000
    assert all(
        finding.table[name]["kl_nats"] > 2 * finding.table[REAL]["kl_nats"] for name in CURES
    )


@pytest.mark.parametrize("key", ["images", "samples", "width", "latent_dim", "batch_size"])
def test_impossible_settings_are_refused(key):
    with pytest.raises(LatentlabError, match=f"{key} is 0: it must be ≥ 1"):
        Stacked(**{key: 0})


def test_images_without_labels_are_refused(context):
    yard = SimpleNamespace(**{**vars(context.yard), "judge": None})
    with pytest.raises(LatentlabError, match="no labels, so no judge: choose data"):
        TINY.run(dataclasses.replace(context, yard=yard))
    yard = SimpleNamespace(**{**vars(context.yard), "train": Split(context.yard.train.images)})
    with pytest.raises(LatentlabError, match="no labels"):
        TINY.run(dataclasses.replace(context, yard=yard))


def test_colour_images_are_refused(context):
    meta = dataclasses.replace(context.meta, image_shape=(3, 8, 8))
    with pytest.raises(LatentlabError, match=r"images have 3 channels.*set data\.channels to 1"):
        TINY.run(dataclasses.replace(context, meta=meta))


def test_a_size_that_cannot_be_halved_is_named(context):
    odd = Split(torch.zeros(9, 1, 9, 9, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    with pytest.raises(ValueError, match="9×9 pixels do not fit"):
        TINY.play(odd, CURES["DCGAN"])
