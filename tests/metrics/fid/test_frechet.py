"""FID, compared with its closed form, scipy's matrix square root and torchmetrics."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from latentlab.metrics.fid import frechet
from latentlab.metrics.fid.frechet import GaussianStatistics, fid, frechet_distance
from latentlab.utils.errors import LatentlabError


def _features(count, size, seed, *, shift=0.0):
    """Correlated features, so that the two covariances do not commute."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator)
    return torch.randn(count, size, generator=generator) @ mix + shift


def _scipy_fid(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return float(shift + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real)


class _Identity(nn.Module):
    num_features = 12

    def forward(self, x):
        return x.flatten(1)


def test_statistics_equal_those_of_numpy():
    x = _features(40, 6, 0)
    statistics = GaussianStatistics.of(x)
    np.testing.assert_allclose(statistics.mean, x.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.cov, np.cov(x.double().numpy().T), rtol=1e-12)
    assert statistics.count == 40


@pytest.mark.parametrize(("size", "shift"), [(1, 0.5), (12, 0.0), (64, 0.3)])
def test_equals_scipy_sqrtm(size, shift):
    a, b = _features(300, size, 1), _features(250, size, 2, shift=shift)
    if size == 1:  # np.cov and sqrtm want matrices
        expected = float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2)
        assert fid(a, b) == pytest.approx(expected, rel=1e-4)
    else:
        assert fid(a, b) == pytest.approx(_scipy_fid(a, b), rel=1e-6)


def test_equals_torchmetrics():
    a, b = _features(200, 12, 3), _features(150, 12, 4, shift=0.2)
    reference = FrechetInceptionDistance(feature=_Identity(), normalize=True).set_dtype(
        torch.float64
    )
    for x, real in ((a, True), (b, False)):
        reference.update(x.double().reshape(-1, 3, 2, 2), real=real)
    assert fid(a, b) == pytest.approx(float(reference.compute()), rel=1e-6)


def test_closed_form_for_diagonal_gaussians():
    generator = torch.Generator().manual_seed(5)
    mean_a, mean_b, var_a, var_b = torch.rand(4, 9, generator=generator, dtype=torch.float64)
    found = frechet_distance(
        GaussianStatistics(mean_a, var_a.diag(), 10), GaussianStatistics(mean_b, var_b.diag(), 10)
    )
    expected = (mean_a - mean_b).square().sum() + (var_a.sqrt() - var_b.sqrt()).square().sum()
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_closed_form_for_singular_covariances():
    # Rank-one covariances u uᵀ and v vᵀ: the trace of the root is |u·v|.
    u, v = torch.randn(2, 30, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    a = GaussianStatistics(torch.zeros(30).double(), torch.outer(u, u), 2)
    b = GaussianStatistics(torch.zeros(30).double(), torch.outer(v, v), 2)
    expected = float(u @ u + v @ v - 2 * (u @ v).abs())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", [80, 500])
def test_fewer_images_than_features_equal_the_problem_in_their_span(size):
    # N < F. In an orthonormal basis of all rows the problem is 25-dimensional and the same.
    a, b = _features(12, size, 7).double(), _features(13, size, 8).double()
    basis = torch.linalg.qr(torch.cat([a, b]).T).Q
    factor_a, factor_b = (((x - x.mean(0)) @ basis) / math.sqrt(len(x) - 1) for x in (a, b))
    cross = scipy.linalg.svdvals((factor_a @ factor_b.T).numpy()).sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + a.var(0).sum() + b.var(0).sum() - 2 * cross
    assert fid(a, b) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_distance_grows_with_the_square_of_the_scale(scale):
    a, b = _features(12, 30, 7).double(), _features(40, 30, 8).double()
    assert fid(scale * a, scale * b) == pytest.approx(scale**2 * fid(a, b), rel=1e-10, abs=0)


def test_a_covariance_that_is_zero_up_to_rounding_counts_as_zero():
    mean = torch.arange(4.0).double()
    none, below = torch.zeros(4, 4).double(), -1e-30 * torch.eye(4).double()
    point = GaussianStatistics(0 * mean, none, 10)
    for cov in (none, below):
        assert frechet_distance(GaussianStatistics(mean, cov, 10), point) == pytest.approx(14)


def test_variances_at_the_level_of_rounding_count_as_zero():
    """Their roots, 1e-8 of the largest deviation, would be visible in the distance."""
    mean, variances = torch.zeros(2).double(), torch.tensor([2e-16, 1.0]).double()
    a, b = (GaussianStatistics(mean, each.diag(), 10) for each in (variances, variances.flip(0)))
    assert frechet_distance(a, b) == pytest.approx(2, rel=1e-12)


def test_statistics_and_features_give_the_same_distance():
    a, b = _features(30, 5, 12), _features(40, 5, 13)
    expected = frechet_distance(GaussianStatistics.of(a), GaussianStatistics.of(b))
    assert fid(a, b) == fid(GaussianStatistics.of(a), b) == expected
    assert fid(a, GaussianStatistics.of(b)) == expected


def test_one_constant_side():
    a, b = _features(50, 5, 9), torch.ones(50, 5)
    expected = (a.double().mean(0) - 1).square().sum() + a.double().var(0).sum()
    assert fid(a, b) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("count", [10, 500])  # 10 < F: singular
def test_the_distance_is_symmetric_and_zero_for_equal_sets(count):
    a, b = _features(count, 40, 10), _features(count, 40, 11)
    scale = float(GaussianStatistics.of(a).cov.trace())
    assert 0 <= fid(a, a) <= 1e-10 * scale
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-10)
    assert fid(a, b) > 1e-2 * scale


def test_errors():
    one, two = _features(1, 4, 0), _features(9, 4, 0)
    with pytest.raises(LatentlabError, match="At least 2 rows"):
        GaussianStatistics.of(one)
    with pytest.raises(LatentlabError, match="not finite in 9 of 9"):
        GaussianStatistics.of(two * torch.nan)
    with pytest.raises(
        LatentlabError, match=r"features of size 4 and 3\. Both sizes must be equal"
    ):
        fid(two, two[:, :3])
    with pytest.raises(LatentlabError, match=r"features of size 3 and 4"):
        fid(two[:, :3], two)
    fitted = GaussianStatistics.of(two)
    with pytest.raises(LatentlabError, match="FID got 9 and 1 feature vectors"):
        frechet_distance(fitted, GaussianStatistics(fitted.mean, fitted.cov, 1))


def test_blocks_of_the_covariance_are_at_their_places(monkeypatch):
    x = torch.randn(40, 10, dtype=torch.float64)
    expected = x.T.cov()
    for rows in (3, 5, 10, 100):
        monkeypatch.setattr(frechet, "ROWS", rows)
        torch.testing.assert_close(GaussianStatistics.of(x).cov, expected)


@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-6, 1e-12, 0.0])
def test_the_two_ways_of_the_trace_are_equal_for_each_condition(smallest):
    """Commuting covariances: tr (Σ_a^½ Σ_b Σ_a^½)^½ = Σ √(a_i b_i)."""
    rotation, _ = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))
    values_a, values_b = torch.rand(2, 30, dtype=torch.float64) + 0.5
    values_a[:5], values_b[3:8] = smallest, smallest
    a, b = (
        GaussianStatistics(torch.zeros(30).double(), rotation @ v.diag() @ rotation.T, 100)
        for v in (values_a, values_b)
    )
    expected = (values_a + values_b - 2 * (values_a * values_b).sqrt()).sum()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)
