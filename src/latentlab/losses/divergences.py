"""How far a code's distribution is from its prior, per image."""

from __future__ import annotations

from torch import Tensor


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag exp(logvar)) ‖ N(0, I)), nats, (B,). Kingma & Welling 2014, appendix B."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)
