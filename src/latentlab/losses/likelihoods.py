"""How far an image is from its reconstruction: errors and negative log-likelihoods, per image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Σ_pixels (x̂ − x)², (B,)."""
    return (x_hat - x).square().flatten(1).sum(1)


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """−Σ_pixels [x log σ(l) + (1 − x) log(1 − σ(l))], nats, (B,).

    For x in {0, 1} this is −log p(x). For grey x it is the cross-entropy most tutorials train with:
    a fine objective, but not a likelihood of grey images.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_nll(mean: Tensor, log_scale: Tensor | float, x: Tensor) -> Tensor:
    """−log N(x; mean, σ² I), log σ = `log_scale`, nats, (B,); of a density, so maybe negative."""
    log_scale = torch.as_tensor(log_scale, dtype=mean.dtype, device=mean.device)
    z = (x - mean) * torch.exp(-log_scale)
    return (0.5 * z.square() + log_scale + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)
