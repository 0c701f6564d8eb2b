"""FID: Fréchet distance of Gaussians fitted to two feature sets (Heusel et al. 2017, eq. 6).

    d²(a, b) = ‖μ_a − μ_b‖² + tr(Σ_a) + tr(Σ_b) − 2 tr (Σ_a^½ Σ_b Σ_a^½)^½

With factors Σ = L Lᵀ, the last trace is the sum of the singular values of M = L_aᵀ L_b. They are
the square roots of the eigenvalues of M Mᵀ, which take less time, but lose the precision of small
ones. So eigenvalues are used where both Σ are well conditioned, and singular values where one is
not, or is singular.

docs/metrics-elsewhere.md compares it with other packages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.utils.errors import LatentlabError

WELL_CONDITIONED = 1e-4  # least ratio of two elements on the diagonal of a Cholesky factor
ROWS = 256  # of a block of XᵀX


@dataclass(frozen=True)
class GaussianStatistics:
    """`mean` (F,) and unbiased `cov` (F, F), both float64, of `count` feature vectors."""

    mean: Tensor
    cov: Tensor
    count: int

    @cached_property
    def cholesky(self) -> Tensor | None:
        """Lower triangular L (F, F) with L Lᵀ = `cov`; None if `cov` is ill conditioned."""
        factor, failed = torch.linalg.cholesky_ex(self.cov)
        diagonal = factor.diagonal()
        well = not failed and diagonal.min() > WELL_CONDITIONED * diagonal.max()
        return factor if well else None

    @cached_property
    def factor(self) -> Tensor:
        """L (F, R) with L Lᵀ = `cov`; R is the numerical rank."""
        return _factor(self.cov)

    @classmethod
    def of(cls, features: Tensor) -> GaussianStatistics:
        """Fit a Gaussian to features (N, F).

        Raises:
            LatentlabError: `features` is not 2-D, is not finite, or has fewer than 2 rows.
        """
        x = check_features(features, name="The features for FID", at_least=2)
        mean = x.mean(dim=0, dtype=torch.float64)
        return cls(mean, _gram(x - mean) / (len(x) - 1), len(x))


def fid(real: Tensor | GaussianStatistics, fake: Tensor | GaussianStatistics) -> float:
    """FID of two sets of features (N, F) and (M, F) of one network, ≥ 0, lower is better.

    A set that is compared several times can be given as its `GaussianStatistics`.

    Raises:
        LatentlabError: as `GaussianStatistics.of` and `frechet_distance`.
    """
    a, b = (
        x if isinstance(x, GaussianStatistics) else GaussianStatistics.of(x) for x in (real, fake)
    )
    return frechet_distance(a, b)


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """Squared Fréchet distance d² ≥ 0, in squared units of the features.

    A result below zero can only come from rounding. It is clipped to 0.

    Raises:
        LatentlabError: the feature sizes differ, or one side has fewer than 2 vectors.
    """
    if a.mean.shape != b.mean.shape:
        raise LatentlabError(
            f"FID got features of size {len(a.mean)} and {len(b.mean)}. Both sizes must be equal. "
            "Extract both sides with the same network."
        )
    if min(a.count, b.count) < 2:
        raise LatentlabError(
            f"FID got {a.count} and {b.count} feature vectors. A covariance needs at least 2 on "
            "each side. Evaluate on more images."
        )
    shift = (a.mean - b.mean).square().sum()
    return max(0.0, float(shift + a.cov.trace() + b.cov.trace() - 2 * _trace_of_root(a, b)))


def _trace_of_root(a: GaussianStatistics, b: GaussianStatistics) -> Tensor:
    """tr (Σ_a^½ Σ_b Σ_a^½)^½."""
    if a.cholesky is None or b.cholesky is None:
        return torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    values = torch.linalg.eigvalsh(_gram(b.cholesky.T @ a.cholesky))
    return values.clamp_min(0).sqrt().sum()


def _gram(x: Tensor) -> Tensor:
    """XᵀX (F, F) of X (N, F). It is symmetric, so the lower half suffices."""
    product = x.new_zeros(x.shape[1], x.shape[1])
    for start in range(0, x.shape[1], ROWS):
        end = min(start + ROWS, x.shape[1])
        torch.mm(x[:, start:end].T, x[:, :end], out=product[start:end, :end])
    lower = product.tril_()
    return lower + lower.tril(-1).T


def _factor(cov: Tensor) -> Tensor:
    """Return L (F, R) with L Lᵀ = `cov`; R is the numerical rank (at least 1)."""
    values, vectors = torch.linalg.eigh(cov)
    # Eigenvalues at the level of rounding, also negative ones, are noise. Their square roots
    # (1e-8 of the largest) are not small, so these eigenvalues are left out.
    floor = values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    keep = values > floor
    keep[-1] = True
    return vectors[:, keep] * values[keep].clamp_min(0).sqrt()
