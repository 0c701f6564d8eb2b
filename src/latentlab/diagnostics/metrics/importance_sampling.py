"""Importance sampling of log p(x) for models with latent variables.

    L_S = E[log 1/S Σ_s w_s] ≤ log p(x),   w_s = p(x, z_s) / q(z_s|x),   z_s ~ q(z|x)

L_S rises with S, and L_1 is the ELBO. It is close to log p(x) only if many of the codes contribute.
The effective sample size counts them: (Σ w)² / Σ w², from 1 (one code has all the weight) to S.

Burda et al. 2016, "Importance weighted autoencoders", eq. 8, theorem 1 and section 5.1. Kong 1992,
"A note on importance sampling using standardized weights" (effective sample size).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import LikelihoodModel

MAX_VALUES = 2**21  # decoded at once: 8 MiB per tensor


@dataclass(frozen=True)
class Bounds:
    """Estimates for N images, nats, float64.

    `elbo` (N,): L_1. `bounds` (K, N): L_S for each of the K numbers of codes. `log_px` (N,): L_S of
    the largest S. `effective_sample_size` (N,): of all codes of an image.
    """

    elbo: Tensor
    bounds: Tensor
    effective_sample_size: Tensor

    @property
    def log_px(self) -> Tensor:
        return self.bounds[-1]


@torch.inference_mode()
def log_likelihood(
    model: LikelihoodModel, x: Tensor, y: Tensor, *, num_samples: Sequence[int], seed: int
) -> Bounds:
    """Lower bounds of log p(x), one for each number of codes in `num_samples`, in rising order.

    `x`: images (N, C, H, W) as the likelihood models them; `y`: labels (N,). Each image gets the
    largest number of codes, sampled with `seed`. Memory does not depend on N.
    """
    total = num_samples[-1]
    cost = x[0].numel() * model.likelihood.outputs
    codes = max(1, min(total, MAX_VALUES // cost))
    images = max(1, MAX_VALUES // (cost * codes))
    sizes = [min(codes, total - done) for done in range(0, total, codes)]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part, labels in zip(x.split(images), y.split(images), strict=True):
            log_w = torch.cat([model.log_weights(part, labels, size).double() for size in sizes])
            bounds = torch.stack([mean_bound(log_w, count) for count in num_samples])
            parts.append((log_w.mean(0), bounds, effective_sample_size(log_w)))
    elbo, bounds, size = (torch.cat(values, dim=-1) for values in zip(*parts, strict=True))
    return Bounds(elbo, bounds, size)


def mean_bound(log_weights: Tensor, num_samples: int) -> Tensor:
    """L_S of log w (T, B), nats, (B,): the mean over whole blocks of S = `num_samples` codes."""
    blocks = len(log_weights) // num_samples
    rows = log_weights[: blocks * num_samples].unflatten(0, (blocks, num_samples))
    return (rows.logsumexp(1) - math.log(num_samples)).mean(0)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(Σ w)² / Σ w² of log w (S, B), (B,), in 1…S."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def binarized(x: Tensor, seed: int) -> Tensor:
    """Each pixel of x sampled once from Bernoulli(x): the test images of dynamic binarization."""
    return torch.bernoulli(x, generator=torch.Generator().manual_seed(seed))
