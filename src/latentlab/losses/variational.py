"""Codes drawn from a Gaussian posterior, and bounds of log p(x) made of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor) -> Tensor:
    """z = mu + exp(logvar/2) · eps, eps ~ N(0, I), (B, D). Kingma & Welling 2014, section 2.4."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def elbo_terms(nll: Tensor, kl: Tensor, beta: float = 1.0) -> dict[str, Tensor]:
    """Means of −log p(x|z) and KL, nats, (B,) each, and the loss nll + β · kl that joins them."""
    nll_nats, kl_nats = nll.mean(), kl.mean()
    return {
        "loss": nll_nats + beta * kl_nats,
        "elbo_nats": -(nll_nats + kl_nats),
        "nll_nats": nll_nats,
        "kl_nats": kl_nats,
    }


def draw_weighted(mu: Tensor, logvar: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """`samples` codes z ~ q(z|x), (S, B, D), and log p(z) − log q(z|x) of each, nats, (S, B).

    The constants of both densities cancel: ½ Σ_D (eps² + logvar − z²).
    """
    eps = torch.randn(samples, *mu.shape, dtype=mu.dtype, device=mu.device)
    z = mu + torch.exp(0.5 * logvar) * eps
    return z, 0.5 * (eps.square() + logvar - z.square()).sum(-1)


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log 1/K Σ_k w_k of log w (K, B), nats, (B,). Burda et al. 2016, eq. 8; the ELBO at K = 1."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))
