"""Squared errors and negative log-likelihoods of images: sums over pixels, one value an image."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ReconstructionLoss = Literal["mse", "bce"]


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Σ_pixels (x̂ − x)², (B,)."""
    return (x_hat - x).square().flatten(1).sum(1)


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """−Σ_pixels [x log σ(l) + (1 − x) log(1 − σ(l))], nats, (B,).

    For x in {0, 1} this is −log p(x). For grey values in [0, 1] it is a cross-entropy: a common
    objective, but not a likelihood of grey images. Computed in float32 or float64; the error is at
    most ε = 2⁻²³ or 2⁻⁵² a pixel, and rounding.
    """
    return _BernoulliNLL.apply(at_least_single(logits), x)


class _BernoulliNLL(torch.autograd.Function):
    """Σ_pixels softplus(l) − x l, with gradient σ(l) − x.

    softplus(l) < ε for l < log ε, so l is clamped there. Below, torch's softplus and log σ compute
    with subnormal numbers, which makes them several times slower (docs/speed.md), and the logits of
    a trained model are often there. There is no second derivative.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        highest = -math.log(torch.finfo(logits.dtype).eps)
        softplus = F.softplus(logits.clamp_min(-highest), threshold=highest)
        nll = softplus.addcmul_(x, logits, value=-1)
        return nll.flatten(1).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        grad = grad.view(-1, *[1] * (x.ndim - 1))
        to_x = -logits * grad if ctx.needs_input_grad[1] else None
        return logits.sigmoid().sub_(x).mul_(grad), to_x


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
