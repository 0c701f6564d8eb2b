"""Densities fitted to training codes: one Gaussian, and a mixture of Gaussians."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.contracts import CodePart
from latentlab.samplers.fixed import Prior, device_of
from latentlab.samplers.projection import typical_radius

NEGLIGIBLE = 1e-16  # a responsibility that float64 cannot add to 1


class _GaussianMixture(Prior):
    """K Gaussians in float64. The buffers get their size when they are fitted or loaded."""

    weights: Tensor  # (K,)
    means: Tensor  # (K, D)
    factors: Tensor  # (K, D, D), lower Cholesky factors of the covariances

    def __init__(self) -> None:
        super().__init__()
        for name, dims in (("weights", 1), ("means", 2), ("factors", 3)):
            self.register_buffer(name, torch.empty((0,) * dims, dtype=torch.float64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self._buffers:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        count, dim = shape
        if self.means.shape[1:] != (dim,):
            fitted = f"fitted to {self.means.shape[1]}" if self.means.numel() else "not fitted"
            raise ValueError(
                f"asked for codes of {dim} values from a {type(self).__name__} that is {fitted}"
            )
        device = self.means.device
        component = torch.multinomial(
            self.weights.to(device_of(generator)), count, replacement=True, generator=generator
        ).to(device)
        eps = torch.randn(shape, generator=generator, device=device_of(generator))
        eps = eps.to(device, torch.float64)
        z = torch.empty(shape, dtype=torch.float64, device=device)
        for k in range(len(self.weights)):
            rows = component == k
            z[rows] = self.means[k] + eps[rows] @ self.factors[k].T
        return z.float()

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("fitted", dim),)

    def project(self, z: Tensor) -> Tensor:
        """Move codes (N, D) towards the mean of the nearest Gaussian, up to its 99 % ellipsoid.

        The nearest Gaussian is the one with the least Mahalanobis norm ‖L⁻¹ (z − μ)‖, Σ = L Lᵀ.
        """
        codes = z.to(self.means)
        norms = self._whitened(codes).norm(dim=2)  # (K, N)
        norm, nearest = norms.min(0)
        radius = typical_radius(z.shape[1])
        mean = self.means[nearest]
        border = mean + (codes - mean) * (radius / norm)[:, None]
        return torch.where((norm > radius)[:, None].to(z.device), border.to(z), z)

    def _whitened(self, codes: Tensor) -> Tensor:
        """L_k⁻¹ (z − μ_k) of codes (N, D), float64, for each Gaussian k, (K, N, D)."""
        centred = codes - self.means[:, None]  # (K, N, D)
        return torch.linalg.solve_triangular(self.factors, centred.mT, upper=False).mT


class FittedGaussian(_GaussianMixture):
    """One Gaussian with the mean and the full covariance of the codes."""

    def fit(self, codes: Tensor) -> None:
        codes = codes.double()
        covariance = torch.atleast_2d(torch.cov(codes.T))
        self.weights = codes.new_ones(1)
        self.means = codes.mean(0, keepdim=True)
        self.factors = _cholesky(covariance[None], _floor(codes))


class FittedMixture(_GaussianMixture):
    """A Gaussian mixture with full covariances, fitted by expectation maximization (EM).

    EM starts from k-means++ and a few Lloyd steps and takes at most `max_iterations` steps, on at
    most `max_codes` codes, chosen by `seed`. `regularization`, a fraction of the mean variance of
    the codes, is added to the diagonal of each covariance: it keeps them invertible with few codes
    or dead units.
    """

    def __init__(
        self,
        components: int = 10,
        *,
        max_iterations: int = 60,
        max_codes: int = 20_000,
        regularization: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.components, self.max_iterations, self.seed = components, max_iterations, seed
        self.max_codes, self.regularization = max_codes, regularization

    def fit(self, codes: Tensor) -> None:
        """Fit to codes (N, D). Raises ValueError if there are fewer codes than components."""
        if len(codes) < self.components:
            raise ValueError(
                f"{len(codes)} codes are too few for a mixture of {self.components} components: set"
                " components to a smaller number"
            )
        generator = torch.Generator().manual_seed(self.seed)
        if len(codes) > self.max_codes:
            keep = torch.randperm(len(codes), generator=generator)[: self.max_codes]
            codes = codes[keep.to(codes.device)]
        codes = codes.double()
        ridge = max(self.regularization * codes.var(0).mean().item(), _floor(codes))
        responsibility = _kmeans(codes, self.components, generator)  # (N, K), one-hot
        previous = -math.inf
        for _ in range(self.max_iterations):
            self._maximize(codes, responsibility, ridge)
            joint = self._log_joint(codes)  # (N, K)
            evidence = joint.logsumexp(1, keepdim=True)
            responsibility = (joint - evidence).exp()
            likelihood = evidence.mean().item()
            if likelihood - previous < 1e-4:
                break
            previous = likelihood
        self._maximize(codes, responsibility, ridge)

    def log_prob(self, codes: Tensor) -> Tensor:
        """log p(z) of codes (N, D), nats, (N,)."""
        return self._log_joint(codes.double()).logsumexp(1)

    def _maximize(self, codes: Tensor, responsibility: Tensor, ridge: float) -> None:
        mass = responsibility.sum(0) + 1e-10  # (K,)
        self.weights = mass / mass.sum()
        self.means = responsibility.T @ codes / mass[:, None]
        covariances = codes.new_empty(len(mass), codes.shape[1], codes.shape[1])
        for k in range(len(mass)):
            # with many dimensions nearly all codes belong to one Gaussian: most rows add nothing
            rows = responsibility[:, k] > NEGLIGIBLE
            centred = codes[rows] - self.means[k]
            weighted = centred * responsibility[rows, k, None]
            covariances[k] = weighted.T @ centred / mass[k]
        self.factors = _cholesky(covariances, ridge)

    def _log_joint(self, codes: Tensor) -> Tensor:
        """log π_k + log N(z; μ_k, Σ_k), (N, K)."""
        columns = []
        for k in range(len(self.weights)):
            white = torch.linalg.solve_triangular(
                self.factors[k], (codes - self.means[k]).T, upper=False
            )  # (D, N)
            columns.append(-0.5 * white.square().sum(0))
        logdet = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self.weights.log() - logdet - 0.5 * codes.shape[1] * math.log(2 * math.pi)
        return torch.stack(columns, 1) + constant


def _floor(codes: Tensor) -> float:
    """A variance that is negligible, but large enough for a Cholesky factorization."""
    return 1e-6 * max(codes.var(0).mean().item(), 1e-6)


def _cholesky(covariances: Tensor, ridge: float) -> Tensor:
    eye = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    return torch.linalg.cholesky(covariances + ridge * eye)


def _kmeans(codes: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """k-means++ seeding (Arthur & Vassilvitskii 2007) and 10 Lloyd steps → one-hot (N, K)."""
    first = int(torch.randint(len(codes), (1,), generator=generator))
    centres = codes[first : first + 1]
    nearest = (codes - centres).square().sum(1)
    for _ in range(components - 1):
        # if all codes are equal, every distance is 0: choose any code
        weights = nearest.cpu() if nearest.sum() > 0 else torch.ones(len(codes), dtype=codes.dtype)
        row = int(torch.multinomial(weights, 1, generator=generator))
        centres = torch.cat([centres, codes[row : row + 1]])
        nearest = torch.minimum(nearest, (codes - centres[-1]).square().sum(1))
    for _ in range(10):
        member = nn.functional.one_hot(torch.cdist(codes, centres).argmin(1), components)
        member = member.to(codes.dtype)
        filled = member.sum(0) > 0
        centres[filled] = (member.T @ codes)[filled] / member.sum(0)[filled, None]
    return member
