"""Statistics of the mixtures, scores of known points, and short trainings."""

import math
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from latentlab.tasks.mode_coverage import METHODS, ModeCoverage, grid, ring
from latentlab.utils.errors import LatentlabError


def test_the_ring_and_the_grid_have_the_centers_of_the_paper():
    assert ring().centers.shape == (8, 2)
    torch.testing.assert_close(ring().centers.norm(dim=1), torch.ones(8))
    gaps = (ring().centers - ring().centers.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(gaps, torch.full((8,), 2 * math.sin(math.pi / 8)))
    assert {tuple(c) for c in grid().centers.tolist()} == {
        (x, y) for x in (-4.0, -2.0, 0.0, 2.0, 4.0) for y in (-4.0, -2.0, 0.0, 2.0, 4.0)
    }


@pytest.mark.parametrize("mixture", [ring(), grid()], ids=lambda m: m.name)
def test_the_data_cover_all_modes_with_the_fraction_of_a_rayleigh_distribution(mixture):
    """The distance from its center is Rayleigh: P(r < 3σ) = 1 − exp(−9/2)."""
    modes, quality = mixture.score(mixture.sample(40_000))
    assert modes == len(mixture.centers)
    assert quality == pytest.approx(1 - math.exp(-4.5), abs=0.002)


def test_a_mode_is_covered_by_a_sample_within_three_sigma():
    points = torch.tensor([[1.0, 0.029], [1.0, 0.0], [0.0, 1.031], [-1.0, 0.0]])
    assert ring().score(points) == (2, 0.75)
    assert ring().score(torch.zeros(5, 2)) == (0, 0)


def test_every_regularization_is_trained_and_depends_only_on_the_seed(tmp_path):
    task = ModeCoverage(steps=2, hidden=8, batch_size=12)
    result = task.run(SimpleNamespace(seed=0))
    assert set(result.table) == {*METHODS, "GAN (published)", "PacGAN4 (published)"}
    assert len(result.metrics) == 4 * len(METHODS)
    assert result.metrics == task.run(SimpleNamespace(seed=0)).metrics
    for figure in result.figures:
        figure.save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            assert len(image.convert("RGBA").getcolors(2**20)) > 20, "the figure is empty"


def test_a_short_training_moves_samples_towards_the_data():
    task = ModeCoverage(steps=150, hidden=32, batch_size=64)
    before = ModeCoverage(steps=1, hidden=32, batch_size=64).train_and_sample(grid(), "GAN", 0)
    after = task.train_and_sample(grid(), "GAN", 0)
    std = float(grid().centers.std())
    assert abs(float(after.std()) - std) < abs(float(before.std()) - std)


def test_impossible_settings_are_refused():
    with pytest.raises(LatentlabError, match="steps is 0: it must be ≥ 1"):
        ModeCoverage(steps=0)
