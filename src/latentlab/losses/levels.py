"""Distributions over images of independent 8-bit pixels, and what an image costs under them.

A pixel holds a level k in 0…255, its value is k / 255. A density says nothing about how many bits
a level costs, but the mass it puts on the level's bin does: these sum to 1 over the 256 levels.
Each distribution has `log_prob` of values in [0, 1], `mean`, `std` and `sample`, elementwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from latentlab.losses.precision import at_least_single

LEVELS = 256


class PixelDistribution(Protocol):
    """p(x|z) of pixels that are independent given z; every tensor is (B, P)."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def std(self) -> Tensor: ...

    def log_prob(self, x: Tensor) -> Tensor: ...

    def sample(self) -> Tensor: ...


@dataclass(frozen=True)
class GaussianPixels:
    """N(mean, exp(log_scale)²), as masses on the bins of the levels; values beyond 0 and 1 clip."""

    mean: Tensor
    log_scale: Tensor

    @property
    def std(self) -> Tensor:
        return self.log_scale.exp().expand_as(self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_mass(self.mean, self.log_scale, to_levels(x))

    def sample(self) -> Tensor:
        drawn = self.mean + self.std * torch.randn_like(self.mean)
        return to_levels(drawn) / (LEVELS - 1)


@dataclass(frozen=True)
class BernoulliPixels:
    """Black or white. `log_prob` of a grey x is its mean over images drawn with x as the odds."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def std(self) -> Tensor:
        return (self.mean * (1 - self.mean)).sqrt()

    def log_prob(self, x: Tensor) -> Tensor:
        return -torch.nn.functional.binary_cross_entropy_with_logits(
            self.logits, x, reduction="none"
        )

    def sample(self) -> Tensor:
        return torch.bernoulli(self.mean)


@dataclass(frozen=True)
class CategoricalPixels:
    """softmax over the levels, of any shape: `logits` (B, P, 256)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def std(self) -> Tensor:
        return (self._moment(2) - self._moment(1).square()).clamp_min(0).sqrt()

    def _moment(self, power: int) -> Tensor:
        values = torch.linspace(0, 1, LEVELS, device=self.logits.device, dtype=self.logits.dtype)
        return self.logits.softmax(-1) @ values**power

    def log_prob(self, x: Tensor) -> Tensor:
        return self.logits.log_softmax(-1).gather(-1, to_levels(x)[..., None]).squeeze(-1)

    def sample(self) -> Tensor:
        odds = self.logits.softmax(-1)
        drawn = torch.multinomial(odds.flatten(0, -2), 1).view(odds.shape[:-1])
        return drawn.to(odds.dtype) / (LEVELS - 1)


def to_levels(x: Tensor) -> Tensor:
    """Values → int64 levels 0…255, the nearest; what lies outside [0, 1] clips."""
    return (x.clamp(0, 1) * (LEVELS - 1)).round().to(torch.int64)


def gaussian_log_mass(mean: Tensor, log_scale: Tensor, levels: Tensor) -> Tensor:
    """log P(k) of a Gaussian on the bin of each level, nats, elementwise; all broadcast.

        P(k) = Φ((k + ½ − 255 μ) / 255 σ) − Φ((k − ½ − 255 μ) / 255 σ)

    The bins of 0 and 255 take the tails, so that Σ_k P(k) = 1 (Ho et al. 2020, "Denoising
    diffusion probabilistic models", eq. 13; Salimans et al. 2017, eq. 2, for logistics).
    """
    # bfloat16 holds 8 bits: 255 μ would be off by half a level, and log Φ is not there for it
    mean, log_scale = at_least_single(mean), at_least_single(log_scale)
    bin_width = torch.exp(-log_scale) / (LEVELS - 1)  # in standard deviations
    centre = (levels - (LEVELS - 1) * mean) * bin_width
    low, high = centre - bin_width / 2, centre + bin_width / 2
    # Above the mean both tails are counted from above: Φ is too near 1 there for a difference.
    above = centre > 0
    log_small = torch.special.log_ndtr(torch.where(above, -high, low))
    log_large = torch.special.log_ndtr(torch.where(above, -low, high))
    ratio = (log_small - log_large).clamp_max(-1e-12)  # log 0 must not reach the gradient
    log_mass = log_large + torch.log(-torch.expm1(ratio))
    log_mass = torch.where(levels == 0, torch.special.log_ndtr(high), log_mass)
    return torch.where(levels == LEVELS - 1, torch.special.log_ndtr(-low), log_mass)


def bits_per_dim(nll_nats: Tensor, dimensions: int) -> Tensor:
    """Nats per image → bits per number of the image: nats / (C·H·W · log 2)."""
    return nll_nats / (dimensions * math.log(2))
