"""Kernel distance, compared with a double loop over the kernel and with torchmetrics."""

import math

import pytest
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from latentlab.metrics import kid as module
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


@pytest.mark.parametrize("tile", [7, 1000])  # several tiles, the last ones short; one tile
@pytest.mark.parametrize("chunk", [10, 1000])
def test_it_equals_a_double_loop(tile, chunk, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    monkeypatch.setattr(module, "_CHUNK", chunk)
    x, y = _normal(25, 4, 0).double(), _normal(18, 4, 1, shift=0.4).double()
    assert kernel_distance(x, y) == pytest.approx(_mmd2_by_loops(x, y), rel=1e-10)


@pytest.mark.filterwarnings("ignore:.*will save all extracted features in buffer")
def test_it_equals_torchmetrics():
    x, y = _normal(60, 12, 2), _normal(60, 12, 3, shift=0.2)
    reference = KernelInceptionDistance(
        feature=_Identity(), subsets=1, subset_size=60, normalize=True
    )
    reference.update(x.reshape(-1, 3, 2, 2), real=True)
    reference.update(y.reshape(-1, 3, 2, 2), real=False)
    expected, _ = reference.compute()
    assert kernel_distance(x, y) == pytest.approx(float(expected), rel=1e-4)


def test_unbiased_for_equal_distributions_and_positive_for_different_ones():
    draws = [(_normal(100, 8, 2 * n), _normal(100, 8, 2 * n + 1)) for n in range(100)]
    same = torch.tensor([kernel_distance(x, y) for x, y in draws])
    # The mean of independent draws lies within 4 standard errors of zero, while the biased
    # estimator would be off by about 2 E[k(x, x)] / 100 ≈ 0.2.
    assert abs(same.mean()) < 4 * same.std() / math.sqrt(len(draws))
    other = torch.tensor([kernel_distance(x, y + 0.5) for x, y in draws])
    assert other.mean() > 4 * other.std() / math.sqrt(len(draws))


def test_a_split_with_fixed_class_counts_lowers_it():
    """As the docstring says: (mean of k over all pairs − over pairs of one class) / (N − 1)."""
    classes = torch.arange(10).repeat_interleave(10)
    centres = _normal(10, 6, 0) * 3
    values = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(10, (100,), generator=generator)
        values.append(kernel_distance(centres[classes], centres[drawn]))
    k = ((centres @ centres.T) / 6 + 1) ** 3
    expected = float(k.mean() - k.diagonal().mean()) / 99
    assert expected < 0
    assert sum(values) / 60 == pytest.approx(expected, abs=0.5 * abs(expected))


def test_errors():
    x = _normal(5, 4, 0)
    with pytest.raises(LatentlabError, match=r"real features have shape.*At least 2 rows"):
        kernel_distance(x[:1], x)
    with pytest.raises(LatentlabError, match=r"fake features have shape.*At least 2 rows"):
        kernel_distance(x, x[:1])
    assert math.isfinite(kernel_distance(x[:2], x[2:4]))
    with pytest.raises(LatentlabError, match="fake features are not finite"):
        kernel_distance(x, x / 0)
    with pytest.raises(LatentlabError, match="Features have sizes 4 and 2"):
        kernel_distance(x, x[:, :2])
    with pytest.raises(LatentlabError, match="Features have sizes 2 and 4"):
        kernel_distance(x[:, :2], x)


def test_products_are_float32_with_a_small_error():
    x, y = torch.rand(300, 600) * 2, torch.rand(200, 600) * 2.1
    exact = kernel_distance(x.double(), y.double())
    assert kernel_distance(x, y) != exact
    assert kernel_distance(x, y) == pytest.approx(exact, abs=1e-7)
    assert kernel_distance(x, y.double()) == exact == kernel_distance(x.double(), y)
