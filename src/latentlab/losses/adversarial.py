"""Losses of GANs: of the discriminator, of the generator, gradient penalties, semi-supervised.

All functions return a scalar. `real_logits` and `fake_logits` are the discriminator's outputs (B,)
for real and for generated images, before the sigmoid: D(x) = σ(logit). `make_adversarial_losses`
returns the two losses of a GAN by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialLoss = Literal[
    "minimax", "non_saturating", "maximum_likelihood", "least_squares", "hinge", "wasserstein"
]
DiscriminatorLoss = Callable[[Tensor, Tensor], Tensor]
GeneratorLoss = Callable[[Tensor], Tensor]


def make_adversarial_losses(
    name: str, *, real_label: float = 1.0, fake_label: float = 0.0
) -> tuple[DiscriminatorLoss, GeneratorLoss]:
    """Return the losses `d_loss(real_logits, fake_logits)` and `g_loss(fake_logits)`.

    `name`: one of `AdversarialLoss`. `real_label` and `fake_label`: label smoothing. Raise
    ValueError for an unknown name, and for smoothed labels if the loss has no labels.
    """
    if name not in DISCRIMINATOR_LOSSES:
        known = ", ".join(DISCRIMINATOR_LOSSES)
        raise ValueError(f"unknown loss {name!r}: choose one of {known}")
    d_loss = DISCRIMINATOR_LOSSES[name]
    if (real_label, fake_label) == (1.0, 0.0):
        return d_loss, GENERATOR_LOSSES[name]
    if name in ("hinge", "wasserstein"):
        raise ValueError(
            f"real_label is {real_label} and fake_label {fake_label}, but the {name} loss has no"
            " labels: leave them at 1 and 0"
        )
    return partial(d_loss, real_label=real_label, fake_label=fake_label), GENERATOR_LOSSES[name]


# Goodfellow et al. 2014, eq. 1, in logits l: log D = −softplus(−l), log(1 − D) = −softplus(l).


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0, fake_label: float = 0.0
) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))); 2 log 2 if D = 0.5 everywhere.

    Labels other than 1 and 0 are label smoothing (Salimans et al. 2016, section 3.4): the
    cross-entropy −t log D − (1 − t) log(1 − D) with t = `real_label` for real images and
    t = `fake_label` for generated images.
    """
    real = F.softplus(-real_logits) + (1 - real_label) * real_logits
    fake = F.softplus(fake_logits) - fake_label * fake_logits
    return real.mean() + fake.mean()


def minimax(fake_logits: Tensor) -> Tensor:
    """E log(1 − D(G(z))) (Goodfellow et al. 2014, eq. 1). Its gradient vanishes as D(G(z)) → 0."""
    return -F.softplus(fake_logits).mean()


def non_saturating(fake_logits: Tensor) -> Tensor:
    """−E log D(G(z)) (Goodfellow et al. 2014, section 3).

    It has the fixed point of `minimax`, and a strong gradient where D(G(z)) is near 0.
    """
    return F.softplus(-fake_logits).mean()


def maximum_likelihood(fake_logits: Tensor) -> Tensor:
    """−E exp(σ⁻¹(D(G(z)))) (Goodfellow 2014, "On distinguishability criteria", section 2).

    For the optimal D, exp(logit) = p_data / p_g, and the gradient is that of KL(p_data ‖ p_g). A
    few images carry nearly all of the gradient, so the gradient is noisy.
    """
    return -fake_logits.exp().mean()


def least_squares_discriminator(
    real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0, fake_label: float = 0.0
) -> Tensor:
    """½ E(D(x) − real_label)² + ½ E(D(G(z)) − fake_label)² (Mao et al. 2017, eq. 9)."""
    real, fake = (real_logits - real_label).square(), (fake_logits - fake_label).square()
    return (real.mean() + fake.mean()) / 2


def least_squares(fake_logits: Tensor) -> Tensor:
    """½ E(D(G(z)) − 1)² (Mao et al. 2017, eq. 9). Logits above 1 are pulled back as well."""
    return (fake_logits - 1).square().mean() / 2


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))) (Lim & Ye 2017; Tran et al. 2017)."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def wasserstein_critic(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """−(E D(x) − E D(G(z))) (Arjovsky et al. 2017, eq. 2).

    If D is 1-Lipschitz, the bracket is at most the Wasserstein-1 distance.
    """
    return fake_scores.mean() - real_scores.mean()


def wasserstein(fake_scores: Tensor) -> Tensor:
    """−E D(G(z)): the generator's loss for hinge (Lim & Ye 2017) and Wasserstein."""
    return -fake_scores.mean()


DISCRIMINATOR_LOSSES: dict[str, Callable[..., Tensor]] = {
    "minimax": discriminator_loss,
    "non_saturating": discriminator_loss,
    "maximum_likelihood": discriminator_loss,
    "least_squares": least_squares_discriminator,
    "hinge": hinge_discriminator,
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


def decision_threshold(
    name: str, *, real_label: float = 1.0, fake_label: float = 0.0
) -> float | None:
    """Return the output of the discriminator where the optimal one finds both equally probable.

    It follows from `real_probability`: 0.5 there. With labels 0.9 and 0 the logit is −0.20. None
    for a critic, whose scores are known up to a constant. `name`: a loss.
    """
    middle = (real_label + fake_label) / 2
    if name == "wasserstein":
        return None
    if name == "hinge":
        return 0.0
    return middle if name == "least_squares" else math.log(middle / (1 - middle))


def real_probability(
    logits: Tensor, name: str, *, real_label: float = 1.0, fake_label: float = 0.0
) -> Tensor:
    """Outputs of the discriminator → p(real), in [0, 1], by what its loss `name` makes of it.

    The optimal D of images that are real with probability p is p · real_label + (1 − p) ·
    fake_label, after a sigmoid for the cross-entropy, without one for least squares (Mao et al.
    2017, eq. 5). That of the hinge loss is ±1, the more probable class, and (D + 1) / 2 is used.
    Values beyond the labels count as 0 and 1. Scores of a critic have no probability.
    """
    if name == "hinge":
        return ((logits + 1) / 2).clamp(0, 1)
    target = logits if name == "least_squares" else logits.sigmoid()
    return ((target - fake_label) / (real_label - fake_label)).clamp(0, 1)


# Penalties on the gradient of the discriminator. They can be differentiated again.


def r1_penalty(real_logits: Tensor, x: Tensor) -> Tensor:
    """½ E ‖∇_x D(x)‖² at real images x (Mescheder et al. 2018, eq. 9, γ = 1).

    `x` (B, …) must require gradients before D computes `real_logits`. Each logit must depend on
    its own image only, so D must not have batch normalization.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2


def gradient_penalty(critic: Callable[[Tensor], Tensor], x_real: Tensor, x_fake: Tensor) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)², x̂ uniform on the lines between pairs (Gulrajani et al. 2017, eq. 3).

    `critic`: images (B, C, H, W) → scores (B,). Each score must depend on its own image only, so
    the critic must not have batch normalization.
    """
    t = torch.rand(len(x_real), *[1] * (x_real.ndim - 1), device=x_real.device, dtype=x_real.dtype)
    x_hat = torch.lerp(x_real.detach(), x_fake.detach().to(x_real), t).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x_hat).sum(), x_hat, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


# A discriminator that is also a classifier of K classes: Salimans et al. 2016, section 5.


def real_logit(class_logits: Tensor) -> Tensor:
    """Class logits l (B, K) → logit of "real", log Σ_k exp l_k, (B,)."""
    return class_logits.logsumexp(1)


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """‖E f(x) − E f(G(z))‖² of features (B, F) (Salimans et al. 2016, section 3.1)."""
    return (real.mean(0) - fake.mean(0)).square().sum()


def consistency_loss(class_logits: Tensor, augmented_logits: Tensor) -> Tensor:
    """H(q, p(y|x′)), nats: class logits (B, K) of x and of its augmentation x′.

    The target q ∝ p(y|x)² is sharper than p(y|x) (Berthelot et al. 2019, "MixMatch", eq. 7, at
    temperature 1/2). No gradient reaches `class_logits`.
    """
    return F.cross_entropy(augmented_logits, (2 * class_logits.detach()).softmax(1))
