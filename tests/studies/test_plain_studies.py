"""The plane, copying and memory: numbers against scikit-learn and by construction."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.neighbors import NearestNeighbors

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.studies import copying, memory, plane
from latentlab.trained import Trained

SHAPE = (1, 4, 4)


def images(count, seed):
    g = torch.Generator().manual_seed(9)
    mix = torch.rand(3, 16, generator=g)
    g.manual_seed(seed)
    x = 3 * torch.rand(count, 3, generator=g) @ mix
    x = x + 0.1 * torch.rand(count, 16, generator=g)
    x[:, 5] = 0.5  # a pixel that is the same everywhere
    return Split((20 * x).to(torch.uint8).view(-1, *SHAPE), torch.arange(count) % 3)


@pytest.fixture
def yard():
    counts = {"train": 300, "val": 9, "test": 80}
    meta = Meta("toy", SHAPE, tuple("abc"), counts, (), 0, "0")
    return Yardsticks(
        meta, images(300, 0), images(80, 1), lambda x: x.flatten(1), None, EvaluationSettings()
    )


def trained(module):
    return Trained("toy", Path(), module, None, SHAPE, EvaluationSettings(), {})


class Identity:
    """Copies whatever it is shown."""

    latent_dim = 16

    def encode(self, x):
        return x.flatten(1)

    def decode(self, z):
        return z.unflatten(1, SHAPE)

    features = encode


class TwoPixels(Identity):
    """The code is the first and the last pixel, times ten."""

    latent_dim = 2

    def encode(self, x):
        return 10 * x.flatten(1)[:, [0, 15]]

    def decode(self, z):
        x = torch.zeros(len(z), 16)
        x[:, [0, 15]] = z / 10
        return x.clamp(0, 1).unflatten(1, SHAPE)


class Remembers(Identity):
    """Answers with the nearest image of its memory, whose number is the code."""

    latent_dim = 1

    def __init__(self, kept):
        self.memory = kept.flatten(1)

    def encode(self, x):
        distances = (x.flatten(1)[:, None] - self.memory).square().sum(2)
        return distances.argmin(1, keepdim=True).float()

    def decode(self, z):
        return self.memory[z[:, 0].round().long()].unflatten(1, SHAPE)


# --- plane ---


def test_the_plane_is_for_encoders_of_two_numbers():
    assert plane.applies(TwoPixels())
    assert not plane.applies(Identity())


def test_the_grid_is_read_as_a_picture_with_the_second_number_upwards():
    z = plane.grid(torch.tensor([[0.0, 10], [1, 25], [4, 30]])).tolist()
    assert z[:3] == [[0, 30], [1, 30], [4, 30]]
    assert z[3:6] == [[0, 25], [1, 25], [4, 25]]
    assert z[-3:] == [[0, 10], [1, 10], [4, 10]]


def test_neighbour_agreement_is_that_of_scikit_learn():
    g = torch.Generator().manual_seed(0)
    z, labels = torch.randn(1201, 2, generator=g), torch.randint(0, 4, (1201,), generator=g)
    labels[:500] = (z[:500, 0] > 0).long()
    _, found = NearestNeighbors(n_neighbors=2).fit(z.numpy()).kneighbors(z.numpy())
    expected = (labels[torch.from_numpy(found[:, 1])] == labels).double().mean().item()
    assert plane.neighbour_agreement(z, labels) == pytest.approx(expected)


def test_the_sheet_shows_the_codes_range(yard, tmp_path):
    """Bright first pixel on the right, bright last pixel at the top."""
    finding = plane.study(trained(TwoPixels()), yard)
    assert 0 <= finding.numbers["neighbour_agreement"] <= 1
    (_, sheet), scale = finding.pictures, 16  # 64 px for each image
    sheet.draw(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as png:
        tiles = torch.from_numpy(np.asarray(png.convert("L")).copy())
    side = (tiles.shape[1] + scale) // plane.STEPS // 5  # one pixel: a tile is 4 wide, its gap 1
    assert side == scale
    first = tiles[side // 2 :: 5 * side, side // 2 :: 5 * side]
    last = tiles[side // 2 + 3 * side :: 5 * side, side // 2 + 3 * side :: 5 * side]
    codes = to_float(yard.test.images).flatten(1)[:, [0, 15]]
    z = 255 * codes.quantile(torch.linspace(0.01, 0.99, 16), 0)
    assert first[0].tolist() == pytest.approx(z[:, 0].tolist(), abs=0.6)
    assert last[:, 0].flip(0).tolist() == pytest.approx(z[:, 1].tolist(), abs=0.6)


# --- copying ---


def test_who_copies_is_told_from_who_knows_its_images(yard):
    copier = copying.study(trained(Identity()), yard)
    assert copier.flags == ["copies noise"]
    assert all(row["SSE"] == 0 for row in copier.table.values())
    knows = copying.study(trained(PCACoder(PCA.fit(yard.train), 3, SHAPE)), yard)
    assert knows.flags == []
    assert knows.numbers["test_images_left"] < 0.1 < 0.5 < knows.numbers["noise_left"]


def test_the_errors_are_those_of_scikit_learns_pca(yard):
    found = copying.study(trained(PCACoder(PCA.fit(yard.train), 3, SHAPE)), yard).table
    reference = SklearnPCA(3).fit(to_float(yard.train.images).flatten(1).double().numpy())
    kinds = copying.strangers(yard.test, yard.train, 0)
    assert list(found) == list(kinds)
    for kind, x in kinds.items():
        flat = x.flatten(1).double().numpy()
        x_hat = reference.inverse_transform(reference.transform(flat)).clip(0, 1)
        expected = ((x_hat - flat) ** 2).sum(1).mean()
        assert found[kind]["SSE"] == pytest.approx(expected, rel=1e-4)
        assert found[kind]["SSE of PCA-3"] == pytest.approx(expected, rel=1e-4)
        assert found[kind]["variance"] == pytest.approx(flat.var(0).sum(), rel=1e-4)


def test_strangers_are_a_permutation_and_noise_within_each_pixels_range(yard):
    kinds = copying.strangers(yard.test, yard.train, 0)
    x, shuffled, noise = (part.flatten(1) for part in kinds.values())
    assert torch.equal(x.sort(1).values, shuffled.sort(1).values)
    assert not torch.equal(x, shuffled)
    order = [int((shuffled == x[:, [k]]).all(0).nonzero()[0]) for k in range(16)]
    assert sorted(order) == list(range(16)), "the same order in every image"
    train = to_float(yard.train.images).flatten(1)
    low, high = train.amin(0), train.amax(0)
    assert ((noise >= low) & (noise <= high)).all()
    assert (noise.std(0) / (high - low).clamp_min(1e-9))[low < high].mean() == pytest.approx(
        12**-0.5, rel=0.05
    )


# --- memory ---


def test_memory_shows_both_errors_and_two_rivals(yard):
    kept = to_float(yard.train.images[:20])
    module = Remembers(kept)
    assert memory.applies(module)
    assert not memory.applies(TwoPixels())
    finding = memory.study(trained(module), yard)
    new = to_float(yard.test.images).flatten(1)
    distances = torch.cdist(new.double(), kept.flatten(1).double()).square()
    nearest = distances.min(1).values.mean().item()
    assert finding.table["this model"]["seen"] == 0
    assert finding.table["this model"]["new"] == pytest.approx(nearest, rel=1e-4)
    assert finding.table["the nearest seen image"]["new"] == pytest.approx(nearest, rel=1e-4)
    around = (kept.flatten(1) - kept.flatten(1).mean(0)).square().sum(1).mean().item()
    assert finding.table["the mean seen image"]["seen"] == pytest.approx(around, rel=1e-4)
    assert finding.flags == ["memorizes"]


def test_memory_is_tried_on_the_first_test_images(yard, monkeypatch):
    module = Remembers(to_float(yard.train.images[:20]))
    few = dataclasses.replace(yard, test=yard.test.first(30))
    expected = memory.study(trained(module), few)
    monkeypatch.setattr(memory, "MOST_TEST_IMAGES", 30)
    found = memory.study(trained(module), yard)
    assert (found.numbers, found.text) == (expected.numbers, expected.text)


def test_no_alarm_where_test_images_fare_as_well(yard):
    module = Remembers(torch.cat([to_float(yard.test.images), torch.rand(1, *SHAPE)]))
    assert memory.study(trained(module), yard).flags == []
