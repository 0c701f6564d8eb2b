"""A Gaussian on grey levels: masses and moments compared with those of scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from latentlab.losses.discretized_gaussian import (
    gaussian_log_mass,
    gaussian_mean,
    gaussian_std,
    to_levels,
)

LEVELS = torch.arange(256)


def double(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.31, 1.0])
@pytest.mark.parametrize("scale", [0.002, 0.05, 3.0])
def test_gaussian_masses_are_those_of_scipy_and_sum_to_one(mean, scale):
    edges = (LEVELS.double().numpy() + 0.5) / 255
    upper = stats.norm(mean, scale).cdf(edges)
    lower = stats.norm(mean, scale).cdf(edges - 1 / 255)
    upper[-1], lower[0] = 1, 0
    got = gaussian_log_mass(double(mean), double(math.log(scale)), LEVELS)
    assert got.exp().numpy() == pytest.approx(upper - lower, abs=1e-12)
    single = gaussian_log_mass(torch.tensor(mean), torch.tensor(scale).log(), LEVELS)
    assert float(single.exp().sum()) == pytest.approx(1, abs=1e-3)


def test_masses_of_a_half_precision_mean_are_as_exact_as_the_mean():
    torch.manual_seed(0)
    mean, level = torch.rand(200).bfloat16(), torch.randint(1, 255, (200,))
    log_scale = torch.tensor(-3.0, dtype=torch.bfloat16)
    got = gaussian_log_mass(mean, log_scale, level)
    pixel = stats.norm(mean.double().numpy(), math.exp(-3))
    edge = (level.double().numpy() + 0.5) / 255
    mass = pixel.cdf(edge) - pixel.cdf(edge - 1 / 255)
    accurate = mass > 1e-6  # in the tails, scipy's difference has no correct digit
    assert accurate.sum() > 40
    assert got[accurate].exp().numpy() == pytest.approx(mass[accurate], rel=2e-3)


@pytest.mark.parametrize(("level", "mean"), [(200, 0.1), (55, 0.9)])
def test_far_from_the_mean_the_mass_is_that_of_the_tail(level, mean):
    """At z = 60 standard deviations Φ is 0 in double precision, its logarithm is not."""
    scale = 0.01
    got = gaussian_log_mass(double(mean), double(math.log(scale)), torch.tensor(level))
    edges = [abs((level + side) / 255 - mean) / scale for side in (-0.5, 0.5)]
    low, high = sorted(edges)
    tail = stats.norm.logsf(low) + math.log1p(
        -math.exp(stats.norm.logsf(high) - stats.norm.logsf(low))
    )
    assert float(got) == pytest.approx(tail, rel=1e-9)


@pytest.mark.parametrize("log_scale", [-7.0, 30.0])
def test_masses_that_round_to_0_have_finite_gradients(log_scale):
    mean, log_scale = torch.tensor([0.1, 0.9, 0.5]), torch.tensor(log_scale)
    leaves = [mean.requires_grad_(), log_scale.requires_grad_()]
    mass = gaussian_log_mass(*leaves, torch.tensor([255, 0, 90]))
    assert all(g.isfinite().all() for g in torch.autograd.grad(mass.sum(), leaves))


@pytest.mark.parametrize("mean", [-0.6, 0.0, 0.02, 0.31, 0.5 / 255, 0.998, 1.0, 1.3])
@pytest.mark.parametrize("scale", [0.0005, 0.02, 0.37, 3.0])
def test_moments_are_sums_over_the_masses(mean, scale):
    edges = (LEVELS.double().numpy()[:-1] + 0.5) / 255
    pixel = stats.norm(mean, scale)
    cdf, sf = pixel.cdf(edges), pixel.sf(edges)
    inner = np.maximum(np.diff(cdf), -np.diff(sf))  # each is exact in one half
    masses = np.concatenate([cdf[:1], inner, sf[-1:]])
    reference = stats.rv_discrete(values=(range(256), masses / masses.sum()))
    for dtype, digits in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        given = torch.tensor([mean, math.log(scale)], dtype=dtype)
        got_mean, got_std = gaussian_mean(given[:1], given[1:]), gaussian_std(given[:1], given[1:])
        assert got_mean.item() == pytest.approx(reference.mean() / 255, rel=digits, abs=1e-12)
        assert got_std.item() == pytest.approx(reference.std() / 255, rel=digits, abs=1e-7)


@pytest.mark.parametrize("moment", [gaussian_mean, gaussian_std])
def test_moments_have_gradients_and_the_shape_of_the_mean(moment, monkeypatch):
    monkeypatch.setattr("latentlab.losses.discretized_gaussian.VALUES_AT_ONCE", 5)
    mean = torch.linspace(-0.1, 1.1, 12, dtype=torch.float64).view(1, 3, 4).requires_grad_()
    log_scale = double([[-2.0], [-1.0], [-3.0]]).requires_grad_()
    assert torch.autograd.gradcheck(moment, (mean, log_scale))
    assert moment(mean, log_scale).shape == (1, 3, 4)
    assert moment(mean.bfloat16(), log_scale.bfloat16()).dtype == torch.float32


def test_values_go_to_the_nearest_level_and_clip():
    x = torch.tensor([-0.3, 0.0, 0.49 / 255, 0.51 / 255, 100.4 / 255, 1.0, 1.7])
    assert to_levels(x).tolist() == [0, 0, 0, 1, 100, 255, 255]
    assert to_levels(torch.tensor([0.4, 0.6]), 2).tolist() == [0, 1]
    assert to_levels(x).dtype == torch.int64
