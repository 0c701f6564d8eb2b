"""The Jacobian J = ∂f(x)/∂x, (D, P), of an encoder f for each image, P = C·H·W.

Three functions return its squared Frobenius norm ‖J‖², (B,): `sigmoid_contraction` is the cheapest,
`exact_contraction` and `hutchinson_contraction` take any encoder.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap

EncodeFunction = Callable[[Tensor], Tensor]  # images (B, C, H, W) → codes (B, D)


def sigmoid_contraction(z: Tensor, weight: Tensor) -> Tensor:
    """‖J‖² in closed form, for one layer z = σ(W x + b): codes z (B, D), `weight` W (D, P).

    J_ji = z_j (1 − z_j) W_ji, so ‖J‖² = Σ_j [z_j (1 − z_j)]² Σ_i W_ji² (Rifai et al. 2011).
    """
    return (z * (1 - z)).square() @ weight.square().sum(1)


def jacobian(encoder: EncodeFunction, x: Tensor) -> Tensor:
    """J of each image, (B, D, P), by reverse-mode differentiation.

    `encoder` must treat images one by one: no batch statistics.
    """
    per_image = vmap(jacrev(lambda image: encoder(image[None])[0]))(x)  # (B, D, C, H, W)
    return per_image.flatten(2)


def tangents(encoder: EncodeFunction, x: Tensor, count: int) -> Tensor:
    """The `count` leading right singular vectors of J of each image, (B, count, C, H, W).

    These unit vectors are the changes of the image that change its code most. Their sign is free:
    the entry of largest absolute value is made positive.
    """
    with torch.no_grad():
        _, _, v = torch.linalg.svd(jacobian(encoder, x), full_matrices=False)  # (B, R, P)
    v = v[:, :count]
    sign = v.gather(2, v.abs().argmax(2, keepdim=True)).sign()
    return (sign * v).unflatten(2, x.shape[1:])


def exact_contraction(encoder: EncodeFunction, x: Tensor) -> Tensor:
    """‖J‖² from `jacobian`: D backward passes an image."""
    return jacobian(encoder, x).square().sum((1, 2))


def hutchinson_contraction(encoder: EncodeFunction, x: Tensor, *, num_probes: int = 1) -> Tensor:
    """Unbiased estimate of ‖J‖² = E ‖Jᵀ v‖², v random signs: one backward pass for each probe.

    Source: Hutchinson 1990. v is drawn from torch's global generator.
    """
    z, backward = vjp(encoder, x)[:2]
    total = z.new_zeros(len(x))
    for _ in range(num_probes):
        v = torch.randint_like(z, 2) * 2 - 1
        (row,) = backward(v)  # vᵀ J of each image, (B, C, H, W)
        total = total + row.flatten(1).square().sum(1)
    return total / num_probes
