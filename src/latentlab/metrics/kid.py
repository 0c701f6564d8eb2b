"""Kernel distance: unbiased squared MMD with a cubic polynomial kernel (Bińkowski et al. 2018).

    k(x, y) = (x·y / F + 1)³
    MMD²    = mean of k(x, x') over x ≠ x' + mean of k(y, y') over y ≠ y' − 2 · mean of k(x, y)

Bińkowski et al. 2018, "Demystifying MMD GANs", section 4. On Inception features this is the KID.

docs/metrics-elsewhere.md compares it with other packages.
"""

from __future__ import annotations

from itertools import combinations, product

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.utils.errors import LatentlabError

_TILE = 1000  # rows and columns of the kernel matrix in memory
_CHUNK = 1 << 15  # values that are raised to the third power at a time: for a processor's cache


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Unbiased MMD² of features `real` (N, F) and `fake` (M, F); lower is better.

    The value can be slightly negative, because the estimator is unbiased. It is unbiased for
    independent draws. A split that has each class as often as the whole data set is not one: two of
    its images are less often of one class than two images of different sets, which lowers the
    value. Real images that are drawn as the samples are show how much. One value has no error
    estimate: its spread is that over several draws of samples.

    Products x·y are float32 and sums are float64. For features of order 1, such as Inception's, the
    rounding changes MMD² by about 1e-11. Features that are float64 have float64 products, in twice
    the time.

    Raises:
        LatentlabError: different F, fewer than 2 vectors, or features that are not finite.
    """
    real = check_features(real, name="The real features", at_least=2)
    fake = check_features(fake, name="The fake features", at_least=2)
    if real.shape[1] != fake.shape[1]:
        raise LatentlabError(
            f"Features have sizes {real.shape[1]} and {fake.shape[1]}. Both sizes must be equal. "
            "Extract both sides with the same network."
        )
    dtype = torch.promote_types(torch.promote_types(real.dtype, fake.dtype), torch.float32)
    real, fake = real.to(dtype), fake.to(dtype)
    within = _mean_of_pairs(real) + _mean_of_pairs(fake)
    across = sum(_sum(x, y) for x, y in product(real.split(_TILE), fake.split(_TILE)))
    return within - 2 * across / (len(real) * len(fake))


def _mean_of_pairs(x: Tensor) -> float:
    """Mean of k over all pairs of different vectors. k is symmetric: half of the blocks suffice."""
    parts = x.split(_TILE)
    total = sum(_sum(part, part) for part in parts)
    total += 2 * sum(_sum(y, z) for y, z in combinations(parts, 2))
    own = (x.to(torch.float64).square().sum(1) / x.shape[1] + 1).pow(3).sum()  # k(x, x)
    return (total - float(own)) / (len(x) * (len(x) - 1))


def _sum(x: Tensor, y: Tensor) -> float:
    """Sum of k over all pairs of (N, F) and (M, F)."""
    root = torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1])
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part in root.flatten().split(_CHUNK):
        part = part.to(torch.float64)
        total += part.square() @ part
    return float(total)
