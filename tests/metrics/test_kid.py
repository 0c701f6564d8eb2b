"""Kernel distance, compared with a double loop over the kernel and with torchmetrics."""

import math

import pytest
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from latentlab.metrics.kid import kernel_distance
from latentlab.utils.errors import LatentlabError


def _normal(count, size, seed, shift=0.0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def _mmd2_by_loops(x, y):
    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    x, y = x.tolist(), y.tolist()
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


class _Identity(nn.Module):
    num_features = 12

    def forward(self, x):
        return x.flatten(1)


def test_the_full_set_equals_a_double_loop():
    x, y = _normal(25, 4, 0), _normal(25, 4, 1, shift=0.4)
    found = kernel_distance(x, y, seed=0, subsets=3)
    assert found["kid"] == pytest.approx(_mmd2_by_loops(x, y), rel=1e-10)
    assert found["kid_std"] == pytest.approx(0, abs=1e-12)  # every subset is the whole set


@pytest.mark.filterwarnings("ignore:.*will save all extracted features in buffer")
def test_the_full_set_equals_torchmetrics():
    x, y = _normal(60, 12, 2), _normal(60, 12, 3, shift=0.2)
    reference = KernelInceptionDistance(
        feature=_Identity(), subsets=1, subset_size=60, normalize=True
    )
    reference.update(x.reshape(-1, 3, 2, 2), real=True)
    reference.update(y.reshape(-1, 3, 2, 2), real=False)
    expected, _ = reference.compute()
    assert kernel_distance(x, y, seed=0)["kid"] == pytest.approx(float(expected), rel=1e-4)


def test_subset_size_is_capped_by_the_smaller_set():
    # Sides of 2 and 5: each estimate takes both of the two and one pair of the five.
    x, y = _normal(2, 3, 4), _normal(5, 3, 5)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    allowed = [_mmd2_by_loops(x, y[[i, j]]) for i, j in pairs]
    for seed in range(5):
        found = kernel_distance(x, y, seed=seed, subsets=1)["kid"]
        assert min(abs(found - value) for value in allowed) < 1e-10


def test_unbiased_for_equal_distributions_and_positive_for_different_ones():
    x, y = _normal(2000, 8, 6), _normal(2000, 8, 7)
    subsets = 100
    same = kernel_distance(x, y, seed=0, subsets=subsets, subset_size=100)
    # The subsets overlap little: their mean lies within 4 standard errors of zero, while the
    # biased estimator would be off by about 2 E[k(x, x)] / 100 ≈ 0.2.
    assert abs(same["kid"]) < 4 * same["kid_std"] / math.sqrt(subsets)
    other = kernel_distance(x, y + 0.5, seed=0, subsets=subsets, subset_size=100)
    assert other["kid"] > 4 * other["kid_std"] / math.sqrt(subsets)


def test_the_result_depends_on_the_seed_and_not_on_the_global_state():
    x, y = _normal(80, 4, 8), _normal(80, 4, 9)
    settings = {"subsets": 4, "subset_size": 20}
    first = kernel_distance(x, y, seed=1, **settings)
    state = torch.random.get_rng_state()
    torch.rand(3)
    assert kernel_distance(x, y, seed=1, **settings) == first
    assert kernel_distance(x, y, seed=2, **settings) != first
    torch.random.set_rng_state(state)
    kernel_distance(x, y, seed=3, **settings)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_errors():
    x = _normal(5, 4, 0)
    with pytest.raises(LatentlabError, match=r"real features have shape.*At least 2 rows"):
        kernel_distance(x[:1], x, seed=0)
    with pytest.raises(LatentlabError, match="fake features are not finite"):
        kernel_distance(x, x / 0, seed=0)
    with pytest.raises(LatentlabError, match="Features have sizes 4 and 2"):
        kernel_distance(x, x[:, :2], seed=0)
    with pytest.raises(LatentlabError, match="subsets=0"):
        kernel_distance(x, x, seed=0, subsets=0)
    with pytest.raises(LatentlabError, match="subset_size=1"):
        kernel_distance(x, x, seed=0, subset_size=1)
