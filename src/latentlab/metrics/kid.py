"""Kernel distance: unbiased squared MMD with a cubic polynomial kernel (Bińkowski et al. 2018).

    k(x, y) = (x·y / F + 1)³
    MMD²    = mean of k(x, x') over x ≠ x' + mean of k(y, y') over y ≠ y' − 2 · mean of k(x, y)

Bińkowski et al. 2018, "Demystifying MMD GANs", section 4. On Inception features this is the KID.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.utils.errors import LatentlabError


def kernel_distance(
    real: Tensor, fake: Tensor, *, seed: int, subsets: int = 50, subset_size: int = 1000
) -> dict[str, float]:
    """Return mean `kid` and standard deviation `kid_std` of MMD² over random subsets.

    `real` (N, F), `fake` (M, F). Each of the `subsets` estimates uses min(subset_size, N, M)
    vectors of each side, sampled without replacement by a generator seeded with `seed`. `kid` can
    be slightly negative, because the estimator is unbiased; lower is better. `kid_std` is the
    population standard deviation between subsets, not the standard error of their mean.

    Raises:
        LatentlabError: different F, fewer than 2 vectors, features that are not finite, or subset
            settings out of range.
    """
    real = check_features(real, name="The real features", at_least=2).to(torch.float64)
    fake = check_features(fake, name="The fake features", at_least=2).to(torch.float64)
    if real.shape[1] != fake.shape[1]:
        raise LatentlabError(
            f"Features have sizes {real.shape[1]} and {fake.shape[1]}. Both sizes must be equal. "
            "Extract both sides with the same network."
        )
    if subsets < 1 or subset_size < 2:
        raise LatentlabError(
            f"subsets={subsets}, subset_size={subset_size}: at least 1 subset of at least 2 "
            "vectors is needed. Use 50 subsets of 1000."
        )
    size = min(subset_size, len(real), len(fake))
    if size == len(real) == len(fake):
        subsets = 1  # every subset is the whole set
    generator = torch.Generator().manual_seed(seed)
    estimates = torch.stack(
        [
            _mmd2(_subset(real, size, generator), _subset(fake, size, generator))
            for _ in range(subsets)
        ]
    )
    return {"kid": float(estimates.mean()), "kid_std": float(estimates.std(correction=0))}


def _subset(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(features), generator=generator)[:size]
    return features[order.to(features.device)]


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """k of all pairs of (N, F) and (M, F): (N, M)."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def _mmd2(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased MMD² of two sets (N, F) of one size."""
    count = len(x)
    within = sum(k.sum() - k.trace() for k in (_kernel(x, x), _kernel(y, y)))
    return within / (count * (count - 1)) - 2 * _kernel(x, y).mean()
