"""Precision, recall, density and coverage, compared with their definitions in numpy."""

from itertools import product

import numpy as np
import pytest
import torch

from latentlab.metrics import prdc as module
from latentlab.metrics.prdc import _smallest, in_real_ball, prdc
from latentlab.utils.errors import LatentlabError


def _points(count, size, seed, *, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator) * scale + shift


def _by_definition(real, fake, k):
    real, fake = real.double().numpy(), fake.double().numpy()

    def radius(points, i):
        others = np.delete(points, i, axis=0)
        return np.sort(np.linalg.norm(others - points[i], axis=1))[k - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    fake_radius = [radius(fake, j) for j in range(len(fake))]
    inside_real = np.zeros((len(real), len(fake)), bool)
    inside_fake = np.zeros((len(real), len(fake)), bool)
    for i, x in enumerate(real):
        for j, y in enumerate(fake):
            distance = np.linalg.norm(x - y)
            inside_real[i, j] = distance <= real_radius[i]
            inside_fake[i, j] = distance <= fake_radius[j]
    return {
        "precision": inside_real.any(axis=0).mean(),
        "recall": inside_fake.any(axis=1).mean(),
        "density": inside_real.sum() / (k * len(fake)),
        "coverage": inside_real.any(axis=1).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("tile", [7, 1000])  # several tiles, the last ones short; one tile
def test_the_metrics_equal_their_definitions(k, tile, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    real, fake = _points(60, 4, 0), _points(45, 4, 1, scale=0.7, shift=0.4)
    expected = _by_definition(real, fake, k)
    assert prdc(real, fake, k=k) == pytest.approx(expected, abs=1e-12)
    assert len({round(value, 3) for value in expected.values()}) == 4  # four different values


@pytest.mark.parametrize("tile", [7, 1000])
@pytest.mark.parametrize("k", [{}, {"k": 2}], ids=["default", "2"])
def test_which_fakes_lie_in_a_real_ball(k, tile, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    real, fake = _points(60, 4, 9), _points(45, 4, 10, scale=1.5)
    order = torch.cdist(real.double(), real.double()).sort(dim=1).values
    radius = order[:, k.get("k", 5)]  # the first is the point itself
    expected = (torch.cdist(real.double(), fake.double()) <= radius[:, None]).any(dim=0)
    assert in_real_ball(real, fake, **k).tolist() == expected.tolist()
    assert prdc(real, fake, **k)["precision"] == expected.double().mean()
    assert 0.1 < expected.double().mean() < 0.9


def test_a_ball_contains_its_border():
    """On a line with steps of 2 and k = 1, only the last real and the first fake are neighbours."""
    real, fake = 2.0 * torch.arange(8)[:, None], 2.0 * torch.arange(8, 16)[:, None]
    assert prdc(real, fake, k=1) == pytest.approx(_by_definition(real, fake, 1))
    assert set(prdc(real, fake, k=1).values()) == {1 / 8}
    assert in_real_ball(real, fake, k=1).tolist() == [True] + 7 * [False]


def test_a_common_shift_changes_nothing():
    # At distance 1000 from the origin, distances vanish in the rounding of float32 squared norms.
    real, fake = _points(60, 4, 2), _points(60, 4, 3, scale=0.7)
    far = prdc(real.double() + 1000, fake.double() + 1000)
    assert far == pytest.approx(_by_definition(real, fake, 5), abs=1e-12)


def test_equal_sets_have_perfect_metrics():
    x = _points(50, 3, 4)
    found = prdc(x, x.clone())
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    # each ball has its point and k = 5 others, one of them on the border, where rounding decides
    assert found["density"] == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize("tile", [7, 32, 1000])
def test_each_tile_of_distances_is_at_its_place(tile, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    x, y = _points(50, 37, 6), _points(33, 37, 7)
    distances = torch.full((50, 33), torch.nan)
    for rows, columns, squared in module._tiles(x, y, product):
        distances[rows, columns] = squared
    expected = torch.cdist(x.double(), y.double()).square().float()
    torch.testing.assert_close(distances, expected, rtol=1e-5, atol=1e-4)


def test_distant_sets_have_metrics_of_zero():
    x = _points(50, 3, 5)
    assert set(prdc(x, x + 100).values()) == {0}


def test_a_collapsed_generator_has_high_precision_and_low_recall_and_coverage():
    real = _points(100, 3, 6)
    fake = real[:1] + _points(100, 3, 7, scale=1e-3)
    found = prdc(real, fake)
    assert found["precision"] == 1
    assert found["recall"] <= 0.01
    assert found["coverage"] < 0.2


def test_errors():
    x = _points(6, 3, 8)
    with pytest.raises(LatentlabError, match="k is 0"):
        prdc(x, x, k=0)
    with pytest.raises(LatentlabError, match=r"real features have shape.*At least 7 rows"):
        prdc(x, x, k=6)
    with pytest.raises(LatentlabError, match=r"fake features have shape.*At least 6 rows"):
        prdc(x, x[:5])
    assert set(prdc(x, x, k=5)) == {"precision", "recall", "density", "coverage"}
    with pytest.raises(LatentlabError, match="Features have sizes 3 and 2"):
        prdc(x, x[:, :2])
    with pytest.raises(LatentlabError, match="Features have sizes 2 and 3"):
        prdc(x[:, :2], x)
    with pytest.raises(LatentlabError, match="fake features are not finite"):
        prdc(x, x * torch.nan)


@pytest.mark.parametrize("width", [1, 3, 16, 17, 100])
def test_the_smallest_values_are_those_of_a_sorted_row(width):
    x = torch.randint(0, 30, (50, width)).float()  # with equal values
    for k in (1, 2, 3):
        assert torch.equal(_smallest(x, k), x.sort(1).values[:, :k])
