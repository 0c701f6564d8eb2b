"""What the two players of a GAN minimise, from the discriminator's logits (B,); scalars."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

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
