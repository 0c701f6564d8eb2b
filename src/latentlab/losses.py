"""Objectives as pure functions. Every image loss sums over pixels and returns one number per image.

`x` is an image batch (B, C, H, W) in [0, 1]; `logits` has the same shape and is a sigmoid's input.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag exp(logvar)) ‖ N(0, I)), nats, (B,). Kingma & Welling 2014, appendix B."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)


# Goodfellow et al. 2014, eq. 1, with D(x) = σ(l): log D = −softplus(−l), log(1 − D) = −softplus(l).


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))); 2 log 2 where D cannot tell them apart."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def minimax(fake_logits: Tensor) -> Tensor:
    """E log(1 − D(G(z))): the other side of the two players' game (Goodfellow 2014, eq. 1).

    Its gradient vanishes where D is sure of the fakes.
    """
    return -F.softplus(fake_logits).mean()


def non_saturating(fake_logits: Tensor) -> Tensor:
    """−E log D(G(z)) (Goodfellow 2014, section 3): the same fixed point, strong early gradients."""
    return F.softplus(-fake_logits).mean()


def maximum_likelihood(fake_logits: Tensor) -> Tensor:
    """−E exp(σ⁻¹(D(G(z)))) (Goodfellow 2014, "On distinguishability criteria", section 2).

    For the optimal D, exp(l) = p_data / p_g, and the gradient is that of KL(p_data ‖ p_g). Few
    fakes carry nearly all of it, so it is noisy: a lesson rather than a tool.
    """
    return -fake_logits.exp().mean()


GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "maximum_likelihood": maximum_likelihood,
}
