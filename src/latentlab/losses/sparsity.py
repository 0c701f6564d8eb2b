"""What makes a code sparse: a Laplace prior, a target activation, or a hard limit. Codes (B, D)."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.losses.precision import at_least_single


def l1_norm(z: Tensor) -> Tensor:
    """Σ_j |z_j|, (B,): up to a constant −log of a Laplace prior of scale 1 (Tibshirani 1996)."""
    return z.abs().sum(1)


def bernoulli_kl(rho: float, z: Tensor) -> Tensor:
    """Σ_j KL(ρ ‖ ρ̂_j), nats, a scalar; ρ̂_j is unit j's mean over the batch of codes in (0, 1).

    KL(ρ ‖ ρ̂) = ρ log ρ/ρ̂ + (1 − ρ) log (1 − ρ)/(1 − ρ̂): of two coins, 0 where ρ̂ = ρ. It speaks of
    a batch, not of one image, so a larger batch makes it a better estimate.
    """
    # sigmoids saturate to 0 and 1 in float32; in bfloat16 the upper bound itself would be 1
    rho_hat = at_least_single(z).mean(0).clamp(1e-6, 1 - 1e-6)
    active, silent = rho / rho_hat, (1 - rho) / (1 - rho_hat)
    return (torch.xlogy(rho, active) + torch.xlogy(1 - rho, silent)).sum()


def top_k(z: Tensor, k: int) -> Tensor:
    """The k largest numbers of each row of z (B, D), zeros elsewhere; gradients pass where they do.

    Makhzani & Frey 2013, "k-Sparse autoencoders".
    """
    if k >= z.shape[1]:
        return z
    values, units = z.topk(k, dim=1, sorted=False)
    return torch.zeros_like(z).scatter(1, units, values)


def above_top_k(z: Tensor, k: int) -> Tensor:
    """By how much the k largest numbers of each row exceed the next one, zeros elsewhere, (B, D).

    The same units as `top_k`, but without its jump where two units change places.
    """
    threshold = z.topk(k + 1, dim=1).values[:, -1:]
    return (z - threshold).clamp_min(0)
