"""How much an encoder stretches small changes: ‖J‖², J = ∂f(x)/∂x (D × P), per image (B,).

Three ways to the same number, from the cheapest to the most general.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap

Encoder = Callable[[Tensor], Tensor]  # (B, C, H, W) → (B, D)


def sigmoid_contraction(z: Tensor, weight: Tensor) -> Tensor:
    """Closed form for one layer z = σ(W x + b), codes (B, D), weight (D, P).

    J_ji = z_j (1 − z_j) W_ji, so ‖J‖² = Σ_j [z_j (1 − z_j)]² Σ_i W_ji² (Rifai et al. 2011).
    """
    return (z * (1 - z)).square() @ weight.square().sum(1)


def jacobian(encoder: Encoder, x: Tensor) -> Tensor:
    """J of each image, (B, D, P), exact by reverse-mode differentiation of any encoder.

    The encoder must treat images one by one: no batch statistics.
    """
    per_image = vmap(jacrev(lambda image: encoder(image[None])[0]))(x)  # (B, D, C, H, W)
    return per_image.flatten(2)


def tangents(encoder: Encoder, x: Tensor, count: int) -> Tensor:
    """The `count` directions each image's code answers to most, unit vectors (B, count, C, H, W).

    The leading right singular vectors of J; the sign, which is free, makes the largest entry > 0.
    """
    with torch.no_grad():
        _, _, v = torch.linalg.svd(jacobian(encoder, x), full_matrices=False)  # (B, R, P)
    v = v[:, :count]
    sign = v.gather(2, v.abs().argmax(2, keepdim=True)).sign()
    return (sign * v).unflatten(2, x.shape[1:])


def exact_contraction(encoder: Encoder, x: Tensor) -> Tensor:
    """‖J‖² from J itself: D backward passes an image."""
    return jacobian(encoder, x).square().sum((1, 2))


def hutchinson_contraction(encoder: Encoder, x: Tensor, *, probes: int = 1) -> Tensor:
    """An unbiased estimate: ‖J‖² = E ‖Jᵀ v‖² for random signs v, by one backward pass a probe.

    Hutchinson 1990; v from torch's global generator, so that a seed repeats it.
    """
    z, pull_back = vjp(encoder, x)[:2]
    total = z.new_zeros(len(x))
    for _ in range(probes):
        v = torch.randint_like(z, 2) * 2 - 1
        (row,) = pull_back(v)  # (B, C, H, W): vᵀ J of each image
        total = total + row.flatten(1).square().sum(1)
    return total / probes
