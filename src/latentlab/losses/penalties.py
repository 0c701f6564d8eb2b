"""Penalties on a discriminator's slope, from its own gradients; scalars that can be trained on."""

from __future__ import annotations

import torch
from torch import Tensor


def r1_penalty(real_logits: Tensor, x: Tensor) -> Tensor:
    """½ E ‖∇_x D(x)‖² at real images x (B, …), which must require gradients before D saw them.

    Mescheder et al. 2018, "Which training methods for GANs do actually converge?", eq. 9 at γ = 1.
    Each logit must depend on its own image alone for this to be each image's slope.
    """
    (slope,) = torch.autograd.grad(real_logits.sum(), x, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2
