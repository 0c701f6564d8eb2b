"""Fréchet distance between Gaussian fits of two feature sets (Heusel et al. 2017, eq. 6).

    d²(a, b) = |μ_a − μ_b|² + tr(Σ_a) + tr(Σ_b) − 2 tr (Σ_a^½ Σ_b Σ_a^½)^½

With factors Σ = L Lᵀ the last trace is the sum of the singular values of L_aᵀ L_b. Taking it so,
rather than as square roots of eigenvalues, keeps full float64 precision when Σ is singular.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError
from latentlab.metrics.features import check_features


@dataclass(frozen=True)
class GaussianStatistics:
    """`mean` (F,) and unbiased `cov` (F, F), both float64, of `count` feature vectors."""

    mean: Tensor
    cov: Tensor
    count: int

    @classmethod
    def of(cls, features: Tensor) -> GaussianStatistics:
        """Fit features (N, F). Raises LatentlabError if N < 2, not 2-D or not finite."""
        x = check_features(features, name="features for FID", at_least=2).to(torch.float64)
        mean = x.mean(dim=0)
        x = x - mean
        return cls(mean, x.T @ x / (len(x) - 1), len(x))


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """Squared Fréchet distance d² ≥ 0, in squared feature units (what is reported as "FID").

    Rounding below zero is clipped. Raises LatentlabError if the feature sizes differ or if
    either side was fitted to fewer than two vectors.
    """
    if a.mean.shape != b.mean.shape:
        raise LatentlabError(
            f"feature sizes differ, {len(a.mean)} against {len(b.mean)}: FID compares features "
            "of one network; extract both sides with the same one"
        )
    if min(a.count, b.count) < 2:
        raise LatentlabError(
            f"FID of {a.count} against {b.count} vectors: a covariance needs at least 2 on each "
            "side; evaluate on more images"
        )
    cross = torch.linalg.svdvals(_factor(a.cov).T @ _factor(b.cov)).sum()
    shift = (a.mean - b.mean).square().sum()
    return max(0.0, float(shift + a.cov.trace() + b.cov.trace() - 2 * cross))


def _factor(cov: Tensor) -> Tensor:
    """L (F, R) with L Lᵀ = cov; R is the numerical rank (at least 1)."""
    values, vectors = torch.linalg.eigh(cov)
    # Eigenvalues at rounding level, negative ones included, are noise: their square roots
    # (1e-8 of the largest) would not be.
    floor = values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    keep = values > floor
    keep[-1] = True
    return vectors[:, keep] * values[keep].clamp_min(0).sqrt()
