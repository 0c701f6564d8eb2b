"""Modes kept: the mixtures' own statistics, counting by hand, a game that is played."""

import math
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from latentlab.contracts import LatentlabError
from latentlab.tasks.modes import CURES, Modes, grid, ring


def test_the_ring_and_the_grid_have_the_papers_centres():
    assert ring().centres.shape == (8, 2)
    torch.testing.assert_close(ring().centres.norm(dim=1), torch.ones(8))
    gaps = (ring().centres - ring().centres.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(gaps, torch.full((8,), 2 * math.sin(math.pi / 8)))
    assert {tuple(c) for c in grid().centres.tolist()} == {
        (x, y) for x in (-4.0, -2.0, 0.0, 2.0, 4.0) for y in (-4.0, -2.0, 0.0, 2.0, 4.0)
    }


@pytest.mark.parametrize("mixture", [ring(), grid()], ids=lambda m: m.name)
def test_the_data_themselves_cover_all_with_the_share_of_rayleigh(mixture):
    """The distance from its centre is Rayleigh: P(r < 3σ) = 1 − exp(−9/2)."""
    modes, quality = mixture.score(mixture.sample(40_000))
    assert modes == len(mixture.centres)
    assert quality == pytest.approx(1 - math.exp(-4.5), abs=0.002)


def test_a_mode_counts_only_by_a_sample_within_three_sigma():
    points = torch.tensor([[1.0, 0.029], [1.0, 0.0], [0.0, 1.031], [-1.0, 0.0]])
    assert ring().score(points) == (2, 0.75)
    assert ring().score(torch.zeros(5, 2)) == (0, 0)


def test_every_cure_plays_on_its_own_seed(tmp_path):
    task = Modes(steps=2, hidden=8, batch_size=12)
    finding = task.run(SimpleNamespace(seed=0))
    assert set(finding.table) == {*CURES, "GAN (published)", "PacGAN4 (published)"}
    assert len(finding.numbers) == 4 * len(CURES)
    assert finding.numbers == task.run(SimpleNamespace(seed=0)).numbers
    for picture in finding.pictures:
        picture.draw(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            assert len(image.convert("RGBA").getcolors(2**20)) > 20, "an empty sheet"


def test_a_short_game_moves_samples_towards_the_data():
    task = Modes(steps=150, hidden=32, batch_size=64)
    before = Modes(steps=1, hidden=32, batch_size=64).samples(grid(), "GAN", 0)
    after = task.samples(grid(), "GAN", 0)
    spread = float(grid().centres.std())
    assert abs(float(after.std()) - spread) < abs(float(before.std()) - spread)


def test_impossible_settings_are_refused():
    with pytest.raises(LatentlabError, match="steps is 0: it must be ≥ 1"):
        Modes(steps=0)
