"""t-SNE: two-dimensional maps of features, for plots only.

    p_ij ∝ exp(−β_i ‖x_i − x_j‖²), made symmetric      q_ij ∝ 1 / (1 + ‖y_i − y_j‖²)
    minimize KL(p ‖ q) over the points y

van der Maaten & Hinton 2008, "Visualizing data using t-SNE", with exact gradients: a map has few
points, and importing scikit-learn takes longer than the map.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_FEATURES = 50  # more features are first reduced by PCA
PERPLEXITY = 30.0
STEPS, EARLY = 500, 250  # of the early ones, p is multiplied by EXAGGERATION
EXAGGERATION = 12.0
SEARCH_STEPS = 50  # of the bisection for β_i


@torch.no_grad()
def tsne(features: Tensor, *, seed: int = 0) -> Tensor:
    """t-SNE of features (N, F), started from PCA: float32 (N, 2).

    More than 50 features are first reduced to 50 by PCA. The perplexity is 30, or (N − 1) / 3 if
    this is less. For fewer than 5 points, or features without variance, the result is all zeros.
    Memory grows with N².
    """
    if len(features) < 5 or float(features.var(0).sum()) == 0:
        return torch.zeros(len(features), 2)
    if features.shape[1] == 1:
        # PCA of one feature starts on a line, on which no point can pass another. Noise adds a
        # second feature.
        noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
        features = torch.cat([features, 0.01 * features.std() * noise], dim=1)
    points = _principal_components(features.double())
    p = _affinities(points, min(PERPLEXITY, (len(points) - 1) / 3)).float()
    start = points[:, :2] * (1e-4 / points[:, 0].std())
    return _descend(p, start.float())


def _principal_components(x: Tensor) -> Tensor:
    """Centred points (N, F) → their coordinates on the first principal axes, (N, ≤ 50)."""
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return (u * s)[:, :MAX_FEATURES]


def _squared_distances(x: Tensor) -> Tensor:
    norms = x.square().sum(1)
    return torch.addmm(norms[:, None] + norms, x, x.T, alpha=-2).clamp_min_(0)


def _affinities(x: Tensor, perplexity: float) -> Tensor:
    """The probabilities p (N, N) of pairs of points (N, F), with sum 1 and p_ii = 0.

    Bisection finds β_i, so that the entropy of p_{j|i} is log(perplexity).
    """
    distances = _squared_distances(x).fill_diagonal_(torch.inf)
    distances -= distances.min(1, keepdim=True).values  # the exponential must not underflow
    low, high = torch.zeros(2, len(x), 1, dtype=x.dtype)
    high += torch.inf
    beta = 1 / distances.fill_diagonal_(0).mean(1, keepdim=True).clamp_min(1e-30)
    distances.fill_diagonal_(torch.inf)
    for _ in range(SEARCH_STEPS):
        p = torch.softmax(-beta * distances, dim=1)
        entropy = -torch.xlogy(p, p).sum(1, keepdim=True)
        too_wide = entropy > torch.tensor(perplexity).log()
        low, high = torch.where(too_wide, beta, low), torch.where(too_wide, high, beta)
        beta = torch.where(high.isinf(), 2 * beta, (low + high) / 2)
    return (p + p.T) / (2 * len(x))


def _descend(p: Tensor, y: Tensor) -> Tensor:
    """Minimize KL(p ‖ q) from the points y (N, 2): momentum, and a step size for each value."""
    rate = max(len(y) / EXAGGERATION / 4, 50.0)
    velocity, gains = torch.zeros_like(y), torch.ones_like(y)
    for step in range(STEPS):
        early = step < EARLY
        factor = EXAGGERATION if early else 1.0  # of p
        kernel = _squared_distances(y).add_(1).reciprocal_().fill_diagonal_(0)  # (N, N)
        force = torch.sub(p, kernel, alpha=1 / float(factor * kernel.sum())).mul_(kernel)
        gradient = 4 * factor * (force.sum(1, keepdim=True) * y - force @ y)
        gains = torch.where(gradient * velocity < 0, gains + 0.2, gains * 0.8).clamp_min(0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        y = y + velocity
    return y - y.mean(0)
