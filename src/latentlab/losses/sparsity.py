"""Sparse codes (B, D): an L1 norm, a target activation, the k largest values, sparse coding.

Sparse coding finds codes z that minimize E(x, z) of one image x, P = C·H·W values, and a dictionary
B, (P, D), by proximal gradient steps:

    E(x, z) = ½ ‖x − B z‖² + λ ‖z‖₁ + α/2 ‖z − p‖²        p: a prediction of z
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.losses.reconstruction import at_least_single


def l1_norm(z: Tensor) -> Tensor:
    """Σ_j |z_j|, (B,): −log of a Laplace prior of scale 1, up to a constant (Tibshirani 1996)."""
    return z.abs().sum(1)


def bernoulli_kl(rho: float, z: Tensor) -> Tensor:
    """Σ_j KL(ρ ‖ ρ̂_j), nats, a scalar; ρ̂_j is the mean of unit j over a batch of codes in (0, 1).

    KL(ρ ‖ ρ̂) = ρ log ρ/ρ̂ + (1 − ρ) log (1 − ρ)/(1 − ρ̂), between Bernoulli distributions. ρ̂ is an
    estimate from one batch, so a larger batch gives a better estimate.
    """
    # a sigmoid saturates to 0 and 1 in float32; the upper bound rounds to 1 in bfloat16
    rho_hat = at_least_single(z).mean(0).clamp(1e-6, 1 - 1e-6)
    active, inactive = rho / rho_hat, (1 - rho) / (1 - rho_hat)
    return (torch.xlogy(rho, active) + torch.xlogy(1 - rho, inactive)).sum()


def top_k(z: Tensor, k: int) -> Tensor:
    """Keep the k largest values of each row of z (B, D), set the others to 0.

    Gradients pass through the kept values only (Makhzani & Frey 2013, "k-Sparse autoencoders").
    """
    if k >= z.shape[1]:
        return z
    values, units = z.topk(k, dim=1, sorted=False)
    return torch.zeros_like(z).scatter(1, units, values)


def above_top_k(z: Tensor, k: int) -> Tensor:
    """Subtract the (k + 1)-th largest value of each row from the k largest, set the others to 0.

    (B, D) → (B, D). The nonzero units are those of `top_k`, but the result is continuous in z.
    """
    threshold = z.topk(k + 1, dim=1).values[:, -1:]
    return (z - threshold).clamp_min(0)


@dataclass(frozen=True)
class SparseProblem:
    """E(x, z) for a dictionary B, (P, D); λ = `l1_weight` ≥ 0, α = `prediction_weight` ≥ 0."""

    dictionary: Tensor
    l1_weight: float
    prediction_weight: float = 0.0

    def energy(self, x: Tensor, z: Tensor, prediction: Tensor | None = None) -> Tensor:
        """E(x, z), (B,); without `prediction` the last term is 0. x: (B, P)."""
        error = 0.5 * (x - z @ self.dictionary.T).square().sum(1)
        energy = error + self.l1_weight * z.abs().sum(1)
        if prediction is not None:
            energy = energy + self.prediction_weight / 2 * (z - prediction).square().sum(1)
        return energy


def soft_threshold(z: Tensor, threshold: float | Tensor) -> Tensor:
    """sign(z) · max(|z| − threshold, 0): the proximal map of threshold · |z|."""
    return z.sign() * (z.abs() - threshold).clamp_min(0)


def ista(
    problem: SparseProblem, x: Tensor, z: Tensor, prediction: Tensor | None = None, *, steps: int
) -> Tensor:
    """`steps` iterations of iterative shrinkage and thresholding, from codes z (B, D).

    z ← soft(z − ∇/L, λ/L), ∇ = (z Bᵀ − x) B + α (z − p), L = λ_max(BᵀB) + α. E falls in each
    iteration; E − E_min falls as 1/steps.
    """
    step = _proximal_step(problem, x, prediction)
    for _ in range(steps):
        z = step(z)
    return z


def fista(
    problem: SparseProblem, x: Tensor, z: Tensor, prediction: Tensor | None = None, *, steps: int
) -> Tensor:
    """`steps` iterations of `ista` from extrapolated codes: E − E_min falls as 1/steps².

    Beck & Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm", eqs. 4.1–4.3. The
    momentum of an image restarts where it points uphill (O'Donoghue & Candès 2015).
    """
    step = _proximal_step(problem, x, prediction)
    y, t = z, torch.ones(len(z), 1, dtype=z.dtype, device=z.device)
    for _ in range(steps):
        z_next = step(y)
        uphill = ((y - z_next) * (z_next - z)).sum(1, keepdim=True) > 0
        t = torch.where(uphill, 1.0, t)
        t_next = (1 + (1 + 4 * t.square()).sqrt()) / 2
        y = z_next + (t - 1) / t_next * (z_next - z)
        z, t = z_next, t_next
    return z


def _proximal_step(
    problem: SparseProblem, x: Tensor, prediction: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """Return one proximal gradient step on E for images x (B, P): z (B, D) → z (B, D)."""
    gram = problem.dictionary.T @ problem.dictionary  # (D, D)
    target = x @ problem.dictionary  # (B, D)
    alpha = problem.prediction_weight if prediction is not None else 0.0
    if prediction is not None:
        target = target + alpha * prediction
    largest = torch.linalg.eigvalsh(at_least_single(gram))[-1]  # not implemented in half precision
    rate = 1 / (largest.clamp_min(1e-12) + alpha)  # 1/L

    def step(z: Tensor) -> Tensor:
        gradient = z @ gram + alpha * z - target
        return soft_threshold(z - rate * gradient, rate * problem.l1_weight)

    return step
