"""Squared errors and negative log-likelihoods of images: sums over pixels, one value an image."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ReconstructionLoss = Literal["mse", "bce"]


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Σ_pixels (x̂ − x)², (B,)."""
    return (x_hat - x).square().flatten(1).sum(1)


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """−Σ_pixels [x log σ(l) + (1 − x) log(1 − σ(l))], nats, (B,).

    For x in {0, 1} this is −log p(x). For grey values in [0, 1] it is a cross-entropy: a common
    objective, but not a likelihood of grey images.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_nll(mean: Tensor, log_scale: Tensor | float, x: Tensor) -> Tensor:
    """−log N(x; mean, σ² I), log σ = `log_scale`, nats, (B,). Negative where the density is > 1."""
    log_scale = torch.as_tensor(log_scale, dtype=mean.dtype, device=mean.device)
    z = (x - mean) * torch.exp(-log_scale)
    return (0.5 * z.square() + log_scale + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def reconstruction_loss(logits: Tensor, x: Tensor, name: ReconstructionLoss) -> dict[str, Tensor]:
    """Return "loss" and "sse" of x̂ = σ(logits): sums over pixels, means over the batch.

    "sse" is the squared error. "loss" is the same for `name` "mse", the cross-entropy for "bce".
    """
    sse = squared_error(logits.sigmoid(), x).mean()
    loss = sse if name == "mse" else bernoulli_nll(logits, x).mean()
    return {"loss": loss, "sse": sse}


def at_least_single(x: Tensor) -> Tensor:
    """Return x in float32 if its type is smaller, else x itself.

    Under autocast the outputs of a network are bfloat16 or float16: 8 or 11 bits of precision.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
