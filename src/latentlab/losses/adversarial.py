"""What the two players of a GAN minimise, from the discriminator's logits (B,); scalars."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

CriticLoss = Callable[[Tensor, Tensor], Tensor]
GeneratorLoss = Callable[[Tensor], Tensor]

# Goodfellow et al. 2014, eq. 1, with D(x) = σ(l): log D = −softplus(−l), log(1 − D) = −softplus(l).


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0, fake_label: float = 0.0
) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))); 2 log 2 where D cannot tell them apart.

    Other labels than 1 and 0 are smoothed (Salimans et al. 2016, section 3.4): the cross-entropy
    −t log D − (1 − t) log(1 − D) with t = real_label on images and t = fake_label on fakes.
    """
    real = F.softplus(-real_logits) + (1 - real_label) * real_logits
    fake = F.softplus(fake_logits) - fake_label * fake_logits
    return real.mean() + fake.mean()


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


def least_squares_critic(
    real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0, fake_label: float = 0.0
) -> Tensor:
    """½ E(D(x) − 1)² + ½ E D(G(z))² (Mao et al. 2017, eq. 9); labels as above."""
    real, fake = (real_logits - real_label).square(), (fake_logits - fake_label).square()
    return (real.mean() + fake.mean()) / 2


def least_squares(fake_logits: Tensor) -> Tensor:
    """½ E(D(G(z)) − 1)²: fakes far on the right side of the border are pulled back as well."""
    return (fake_logits - 1).square().mean() / 2


def hinge_critic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))) (Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def wasserstein_critic(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """−(E D(x) − E D(G(z))) (Arjovsky et al. 2017, eq. 2).

    For 1-Lipschitz critics the bracket is at most the Wasserstein-1 distance.
    """
    return fake_scores.mean() - real_scores.mean()


def wasserstein(fake_scores: Tensor) -> Tensor:
    """−E D(G(z)): for hinge (Miyato 2018, eq. 17) and Wasserstein critics."""
    return -fake_scores.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], x_real: Tensor, x_fake: Tensor) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)², x̂ uniform on the lines between pairs (Gulrajani et al. 2017, eq. 3).

    `critic`: images (B, C, H, W) → scores (B,), each of its own image alone: no batch statistics.
    """
    t = torch.rand(len(x_real), *[1] * (x_real.ndim - 1), device=x_real.device, dtype=x_real.dtype)
    x_hat = torch.lerp(x_real.detach(), x_fake.detach().to(x_real), t).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x_hat).sum(), x_hat, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


CRITIC_LOSSES: dict[str, Callable[..., Tensor]] = {
    "minimax": discriminator_loss,
    "non_saturating": discriminator_loss,
    "maximum_likelihood": discriminator_loss,
    "least_squares": least_squares_critic,
    "hinge": hinge_critic,
    "wasserstein": wasserstein_critic,
}
GENERATOR_LOSSES: dict[str, GeneratorLoss] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "maximum_likelihood": maximum_likelihood,
    "least_squares": least_squares,
    "hinge": wasserstein,
    "wasserstein": wasserstein,
}
BORDERS = {"least_squares": 0.5}
"""The logit at which D is undecided: 0 for all others but Wasserstein's, which has none."""


def players(
    loss: str, *, real_label: float = 1.0, fake_label: float = 0.0
) -> tuple[CriticLoss, GeneratorLoss]:
    """(what D minimises of real and fake logits, what G minimises of fake logits), by name.

    Raises ValueError for an unknown name, and for smoothed labels where the loss knows no labels.
    """
    if loss not in CRITIC_LOSSES:
        raise ValueError(f"unknown loss {loss!r}: choose one of {', '.join(CRITIC_LOSSES)}")
    critic = CRITIC_LOSSES[loss]
    if (real_label, fake_label) == (1.0, 0.0):
        return critic, GENERATOR_LOSSES[loss]
    if loss in ("hinge", "wasserstein"):
        raise ValueError(
            f"label smoothing (real_label {real_label}, fake_label {fake_label}) with the {loss}"
            " loss, which has no labels: leave them at 1 and 0"
        )
    smoothed = partial(critic, real_label=real_label, fake_label=fake_label)
    return smoothed, GENERATOR_LOSSES[loss]
