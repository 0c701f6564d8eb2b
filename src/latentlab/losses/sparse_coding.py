"""Sparse coding: the few columns of a dictionary that make an image, found by proximal gradients.

    E(z) = ½ ‖x − B z‖² + λ ‖z‖₁ + α/2 ‖z − p‖²

for images x (N, P), a dictionary B (P, D) and codes z (N, D). α = 0 is the lasso; with α > 0 codes
are also pulled towards a prediction p (N, D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.losses.precision import at_least_single


@dataclass(frozen=True)
class SparseProblem:
    """E's settings: dictionary B, l1 weight λ ≥ 0, pull α ≥ 0 towards a prediction (None: 0)."""

    dictionary: Tensor  # (P, D)
    l1: float
    pull: float = 0.0

    def energy(self, x: Tensor, z: Tensor, prediction: Tensor | None = None) -> Tensor:
        """E(z), (N,)."""
        error = 0.5 * (x - z @ self.dictionary.T).square().sum(1)
        energy = error + self.l1 * z.abs().sum(1)
        if prediction is not None:
            energy = energy + self.pull / 2 * (z - prediction).square().sum(1)
        return energy


def soft_threshold(z: Tensor, threshold: float | Tensor) -> Tensor:
    """Move every number `threshold` towards zero, and no further: the proximal map of λ|z|."""
    return z.sign() * (z.abs() - threshold).clamp_min(0)


def ista(
    problem: SparseProblem, x: Tensor, z: Tensor, prediction: Tensor | None = None, *, steps: int
) -> Tensor:
    """`steps` of iterative shrinkage and thresholding from codes z: E falls at each, as 1/steps.

    z ← soft(z − ∇/L, λ/L), ∇ = (z Bᵀ − x) B + α (z − p), L = λ_max(BᵀB) + α.
    """
    step = _step(problem, x, prediction)
    for _ in range(steps):
        z = step(z)
    return z


def fista(
    problem: SparseProblem, x: Tensor, z: Tensor, prediction: Tensor | None = None, *, steps: int
) -> Tensor:
    """The same step from an extrapolated point, so that E − E_min falls as 1/steps².

    Beck & Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm", eqs. 4.1–4.3. The
    momentum restarts for each image where it points uphill (O'Donoghue & Candès 2015).
    """
    step = _step(problem, x, prediction)
    y, t = z, torch.ones(len(z), 1, dtype=z.dtype, device=z.device)
    for _ in range(steps):
        z_next = step(y)
        uphill = ((y - z_next) * (z_next - z)).sum(1, keepdim=True) > 0
        t = torch.where(uphill, 1.0, t)
        t_next = (1 + (1 + 4 * t.square()).sqrt()) / 2
        y = z_next + (t - 1) / t_next * (z_next - z)
        z, t = z_next, t_next
    return z


def _step(
    problem: SparseProblem, x: Tensor, prediction: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """One proximal gradient step on E for images x, z (N, D) → (N, D)."""
    gram = problem.dictionary.T @ problem.dictionary  # (D, D)
    target = x @ problem.dictionary  # (N, D)
    pull = problem.pull if prediction is not None else 0.0
    if prediction is not None:
        target = target + pull * prediction
    largest = torch.linalg.eigvalsh(at_least_single(gram))[-1]  # there is none of half precision
    rate = 1 / (largest.clamp_min(1e-12) + pull)  # 1/L

    def step(z: Tensor) -> Tensor:
        gradient = z @ gram + pull * z - target
        return soft_threshold(z - rate * gradient, rate * problem.l1)

    return step
