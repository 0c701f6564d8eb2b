"""How much an image says of the code that it was made from: lower bounds, scalars in nats.

    I(c; x) = H(c) − H(c|x) ≥ H(c) + E log Q(c|x)        for any Q, with equality where Q = p(c|x)

Chen et al. 2016, "InfoGAN", eq. 4 (Barber & Agakov 2003). The bound may be negative where Q is bad.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def categorical_information(logits: Tensor, y: Tensor) -> Tensor:
    """log K + E log Q(y|x) for y (B,) uniform over K classes, logits (B, K): at most log K."""
    return math.log(logits.shape[1]) - F.cross_entropy(logits, y)


def uniform_information(mu: Tensor, logvar: Tensor, c: Tensor) -> Tensor:
    """J log 2 + E Σ_j log N(c_j; mu_j, exp(logvar_j)) for c (B, J) uniform on [−1, 1]^J.

    A continuous code can say more than its own entropy: there is no upper limit.
    """
    log_q = -0.5 * ((c - mu).square() * (-logvar).exp() + logvar + math.log(2 * math.pi))  # (B, J)
    return c.shape[1] * math.log(2) + log_q.sum(1).mean()
