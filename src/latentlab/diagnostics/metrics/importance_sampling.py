"""Importance sampling of log p(x) for models with latent variables.

    log p(x) ≥ E[log 1/S Σ_s p(x, z_s) / q(z_s|x)],   z_s ~ q(z|x),   exact for S → ∞

Burda et al. 2016, "Importance weighted autoencoders", eq. 8 and section 5.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentlab.contracts import LikelihoodModel

MAX_VALUES = 2**21  # decoded at once: 8 MiB per tensor


@torch.inference_mode()
def log_likelihood(
    model: LikelihoodModel, x: Tensor, y: Tensor, *, num_samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Estimates of log p(x) and of the ELBO, nats, float64 (N,) each.

    `x`: images (N, C, H, W) as the likelihood models them; `y`: labels (N,). Each image gets
    `num_samples` codes, sampled with `seed`. Memory does not depend on N or `num_samples`.
    """
    cost = x[0].numel() * model.likelihood.outputs
    codes = max(1, min(num_samples, MAX_VALUES // cost))
    images = max(1, MAX_VALUES // (cost * codes))
    sizes = [min(codes, num_samples - done) for done in range(0, num_samples, codes)]
    estimates = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part, labels in zip(x.split(images), y.split(images), strict=True):
            log_w = torch.cat([model.log_weights(part, labels, size).double() for size in sizes])
            log_px = log_w.logsumexp(0) - math.log(num_samples)
            estimates.append(torch.stack([log_px, log_w.mean(0)]))
    log_px, elbo = torch.cat(estimates, 1)
    return log_px, elbo


def binarized(x: Tensor, seed: int) -> Tensor:
    """Each pixel of x sampled once from Bernoulli(x): the test images of dynamic binarization."""
    return torch.bernoulli(x, generator=torch.Generator().manual_seed(seed))
