"""Novelty of samples: its definitions in numpy and scipy, copies, held-out images and noise."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from latentlab.metrics import novelty as module
from latentlab.metrics.novelty import is_copying, kmeans, nearest, novelty, z_score
from latentlab.utils.errors import LatentlabError


def points(count, seed, size=3):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def by_definition(train, held_out, fake):
    t, p, q = (x.double().numpy() for x in (train, held_out, fake))
    spacing = [
        min(np.linalg.norm(t[i] - t[j]) for j in range(len(t)) if j != i) for i in range(len(t))
    ]
    authentic = nearer = 0
    for sample in q:
        to_train = np.linalg.norm(t - sample, axis=1)
        authentic += to_train.min() > spacing[to_train.argmin()]
        nearer += to_train.min() < np.linalg.norm(p - sample, axis=1).min()
    return authentic / len(q), nearer / len(q)


@pytest.mark.parametrize("block", [7, 1000])
def test_both_fractions_equal_their_definitions(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    train, held_out, fake = points(60, 0), points(40, 1), points(30, 2) * 0.8
    shift = torch.tensor([100.0, -20.0, 0.1])  # of all points: it changes nothing
    found = novelty(train + shift, held_out + shift, fake + shift)
    expected = by_definition(train, held_out, fake)
    assert (found["authenticity"], found["nearer_train_fraction"]) == pytest.approx(expected)
    assert 0.2 < expected[0] < 0.9
    assert 0.2 < expected[1] < 0.9


def test_copies_are_flagged_and_held_out_points_are_not():
    train, held_out, real = points(400, 0), points(200, 1), points(200, 2)
    sizes = {"num_train": 400, "num_held_out": 200}
    copies = train[:200] + 0.001 * points(200, 3)
    found, honest, noise = (novelty(train, held_out, x) for x in (copies, real, points(200, 4) * 9))
    assert found["authenticity"] < 0.05
    assert found["nearer_train_fraction"] > 0.95
    assert found["ct"] < -3
    assert is_copying(found, **sizes)
    assert abs(honest["ct"]) < 3
    assert not is_copying(honest, **sizes)
    assert noise["ct"] > 3
    assert noise["authenticity"] > 0.95
    assert not is_copying(noise, **sizes)


@pytest.mark.parametrize(
    ("authenticity", "nearer_train", "copies"),
    [(0.3, 0.9, True), (0.3, 0.86, False), (0.3, 0.5, False), (0.4, 0.9, False)],
)
def test_copies_have_a_low_authenticity_and_half_of_the_possible_excess(
    authenticity, nearer_train, copies
):
    """Without copies, three of four samples would be nearer to one of the 300 training points."""
    found = {"authenticity": authenticity, "nearer_train_fraction": nearer_train}
    assert is_copying(found, num_train=300, num_held_out=100) is copies


def test_ct_is_the_mean_over_cells_weighted_by_held_out_points(monkeypatch):
    """Two distant cells, in one of which the samples are copies."""
    train = torch.cat([points(50, 0), points(50, 1) + 100])
    held_out = torch.cat([points(30, 2), points(60, 3) + 100])
    fake = torch.cat([train[:40] + 0.001, points(45, 4) + 100])
    monkeypatch.setattr(module, "NUM_CELLS", 2)
    found = novelty(train, held_out, fake)["ct"]

    def d(x):
        return torch.cdist(x.double(), train.double()).min(1).values

    cells = [z_score(d(fake[:40]), d(held_out[:30])), z_score(d(fake[40:]), d(held_out[30:]))]
    assert found == pytest.approx((30 * cells[0] + 60 * cells[1]) / 90, abs=0.05)


def test_the_z_score_is_that_of_scipy_with_ties_too():
    q, p = points(30, 5)[:, 0].round(decimals=1), points(40, 6)[:, 0].round(decimals=1) + 0.3
    u = mannwhitneyu(q.numpy(), p.numpy()).statistic
    expected = (u - 30 * 40 / 2) / math.sqrt(30 * 40 * 71 / 12)
    assert z_score(q, p) == pytest.approx(expected, rel=1e-6)
    assert z_score(q.double() * 1e-3, p.double() * 1e-3) == pytest.approx(expected, rel=1e-6)


def test_without_a_cell_of_ten_there_is_no_ct():
    assert "ct" not in novelty(points(20, 0), points(5, 1), points(5, 2))


def test_kmeans_finds_separate_groups_and_equal_points():
    groups = torch.cat([points(30, n) * 0.1 + 10 * n for n in range(4)])
    centres = kmeans(groups, 4, seed=0)
    assert float(nearest(groups, centres)[0].max()) < 1
    assert len(kmeans(torch.ones(20, 2), 5, seed=0)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_kmeans_starts_from_points_far_from_each_other(seed):
    """A point equal to a centre has probability 0: each of four groups gets one centre."""
    places = 0.01 * torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [5.0, 5.0]])
    groups = places.repeat_interleave(torch.tensor([50, 1, 9, 2]), dim=0)
    centres = kmeans(groups, 4, seed=seed)
    torch.testing.assert_close(centres[torch.cdist(places, centres).argmin(1)], places)


@pytest.mark.parametrize("seed", range(4))
def test_kmeans_ends_where_each_centre_is_the_mean_of_its_cell(seed):
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(seed))
    centres = kmeans(x, 3, seed=seed)
    cell = torch.cdist(x, centres).argmin(1)
    means = torch.stack([x[cell == k].mean(0) for k in range(3)])
    torch.testing.assert_close(centres, means)
    assert not torch.allclose(centres, kmeans(x, 3, seed=seed + 50))


def test_kmeans_chooses_a_centre_with_a_probability_as_its_squared_distance(monkeypatch):
    monkeypatch.setattr(module, "KMEANS_STEPS", 0)
    x = torch.tensor([0.0] * 200 + [1.0, 3.0])[:, None]
    starts = [kmeans(x, 2, seed=seed).flatten().tolist() for seed in range(300)]
    second = [last for first, last in starts if first == 0]
    assert second.count(3) / len(second) == pytest.approx(0.9, abs=0.05)


def test_more_centres_than_points_are_the_points():
    x = points(3, 0)
    assert sorted(kmeans(x, 5, seed=0).tolist()) == sorted(x.tolist())


def test_points_at_equal_distances_are_neither_authentic_nor_nearer():
    train = torch.tensor([[-2.0], [0.0], [2.0]])
    held_out = torch.tensor([[-4.0], [6.0]])
    fake = torch.tensor([[-3.0], [0.0], [4.0]])  # distances 1, 0, 2 to train; 1, 4, 2 to held-out
    found = novelty(train, held_out, fake)
    assert found == {"authenticity": 0.0, "nearer_train_fraction": pytest.approx(1 / 3)}


def test_cells_need_ten_points_of_both_sets():
    train = points(20, 0)
    assert "ct" in novelty(train, points(200, 1), points(200, 2))
    one = torch.cat([train[:1]] * 2)  # one place, so one cell
    assert "ct" in novelty(one, points(10, 1), points(10, 2))
    assert "ct" not in novelty(one, points(9, 1), points(10, 2))
    assert "ct" not in novelty(one, points(10, 1), points(9, 2))


def test_errors():
    x = points(20, 0)
    with pytest.raises(LatentlabError, match="features of samples are not finite"):
        novelty(x, x, x * torch.nan)
    with pytest.raises(LatentlabError, match=r"Features have sizes 3, 3, 2.*same network"):
        novelty(x, x, x[:, :2])
    with pytest.raises(LatentlabError, match=r"training features have shape.*At least 2 rows"):
        novelty(x[:1], x, x)
