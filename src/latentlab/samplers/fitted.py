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
    """K Gaussians in float64. The buffers get their size when they are fitted or loaded.

    The Gaussians have R ≤ D coordinates. If R < D, these are the first R principal components of
    the codes, and the other D − R components are independent Gaussians, equal for all K.
    """

    weights: Tensor  # (K,)
    means: Tensor  # (K, R)
    factors: Tensor  # (K, R, R), lower Cholesky factors of the covariances
    center: Tensor  # (D,), the mean code; empty if R = D
    axes: Tensor  # (D, D), a principal component in each column; empty if R = D
    residual_std: Tensor  # (D − R,)

    def __init__(self) -> None:
        super().__init__()
        dims = {"weights": 1, "means": 2, "factors": 3, "center": 1, "axes": 2, "residual_std": 1}
        for name, ndim in dims.items():
            self.register_buffer(name, torch.empty((0,) * ndim, dtype=torch.float64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self._buffers:
            # weights of versions before `axes` have R = D
            stored = state_dict.setdefault(prefix + name, torch.empty(0, dtype=torch.float64))
            setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        count, dim = shape
        fitted_dim = self.means.shape[1] + len(self.residual_std)
        if fitted_dim != dim:
            fitted = f"fitted to {fitted_dim}" if fitted_dim else "not fitted"
            raise ValueError(
                f"asked for codes of {dim} values from a {type(self).__name__} that is {fitted}"
            )
        device = self.means.device
        component = torch.multinomial(
            self.weights.to(device_of(generator)), count, replacement=True, generator=generator
        ).to(device)
        eps = torch.randn(shape, generator=generator, device=device_of(generator))
        eps = eps.to(device, torch.float64)
        rank = self.means.shape[1]
        z = torch.empty(count, rank, dtype=torch.float64, device=device)
        for k in range(len(self.weights)):
            rows = component == k
            z[rows] = self.means[k] + eps[rows, :rank] @ self.factors[k].T
        return self._to_codes(z, eps[:, rank:] * self.residual_std).float()

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
        zeros = self.residual_std.new_zeros(len(self.means), len(self.residual_std))
        mean = self._to_codes(self.means, zeros)[nearest]
        border = mean + (codes - mean) * (radius / norm)[:, None]
        return torch.where((norm > radius)[:, None].to(z.device), border.to(z), z)

    def _whitened(self, codes: Tensor) -> Tensor:
        """L_k⁻¹ (z − μ_k) of codes (N, D), float64, for each Gaussian k, (K, N, D)."""
        inside, residual = self._to_coordinates(codes)
        centred = inside - self.means[:, None]  # (K, N, R)
        white = torch.linalg.solve_triangular(self.factors, centred.mT, upper=False).mT
        return torch.cat([white, residual.expand(len(white), -1, -1)], 2)

    def _to_coordinates(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (N, D), float64 → coordinates of the Gaussians (N, R), whitened rest (N, D − R)."""
        if not self.axes.numel():
            return codes, codes[:, :0]
        coordinates = (codes - self.center) @ self.axes
        rank = len(self.center) - len(self.residual_std)
        return coordinates[:, :rank], coordinates[:, rank:] / self.residual_std

    def _to_codes(self, coordinates: Tensor, residual: Tensor) -> Tensor:
        """Coordinates (N, R) and the other components (N, D − R) → codes (N, D), float64."""
        if not self.axes.numel():
            return coordinates
        return self.center + torch.cat([coordinates, residual], 1) @ self.axes.T


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

    With more than `max_dim` dimensions, the mixture has those of the `max_dim` first principal
    components, as the time of EM grows with the square of their number; the other components are
    independent Gaussians.
    """

    def __init__(
        self,
        components: int = 10,
        *,
        max_iterations: int = 60,
        max_codes: int = 20_000,
        max_dim: int = 256,
        regularization: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.components, self.max_iterations, self.seed = components, max_iterations, seed
        self.max_codes, self.max_dim, self.regularization = max_codes, max_dim, regularization

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
        codes = self._reduce(codes, ridge)
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
        inside, residual = self._to_coordinates(codes.double())
        constant = self.residual_std.log() + 0.5 * math.log(2 * math.pi)
        rest = (0.5 * residual.square() + constant).sum(1)
        return self._log_joint(inside).logsumexp(1) - rest

    def _reduce(self, codes: Tensor, ridge: float) -> Tensor:
        """Set `center`, `axes` and `residual_std`; return the coordinates of the codes, (N, R)."""
        self.center, self.axes = codes.new_empty(0), codes.new_empty(0, 0)
        self.residual_std = codes.new_empty(0)
        if codes.shape[1] > self.max_dim:
            variances, axes = torch.linalg.eigh(torch.cov(codes.T))  # ascending
            self.center, self.axes = codes.mean(0), axes.flip(1)
            residual = variances.flip(0)[self.max_dim :].clamp_min(0)
            self.residual_std = (residual + ridge).sqrt()
        return self._to_coordinates(codes)[0]

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
        """log π_k + log N(z; μ_k, Σ_k) of coordinates (N, R), (N, K)."""
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
    centres = codes[first : first + 1].clone()  # Lloyd's steps write into it
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
