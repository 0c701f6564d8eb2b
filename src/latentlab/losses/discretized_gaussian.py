"""A Gaussian on grey levels: the first and the last level hold the tails.

    P(k) = Φ((k + ½ − 255 μ) / 255 σ) − Φ((k − ½ − 255 μ) / 255 σ),   k = 0 … 255

So a pixel is a Gaussian number, rounded to the nearest level and clipped to [0, 1]. Near black and
white, its mean and deviation differ from μ and σ.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentlab.losses.reconstruction import at_least_single

LEVELS = 256  # grey levels of a stored image
VALUES_AT_ONCE = 2**10  # values with all their levels in memory: 1 MiB, the size of a cache
VALUES_AT_ONCE_GPU = 2**16  # 64 MiB: few and large kernels


def to_levels(x: Tensor, num_levels: int = LEVELS) -> Tensor:
    """Values → int64 levels 0…255, the nearest; values outside [0, 1] clip."""
    return (x.clamp(0, 1) * (num_levels - 1)).round().to(torch.int64)


def gaussian_log_mass(
    mean: Tensor, log_scale: Tensor, levels: Tensor, num_levels: int = LEVELS
) -> Tensor:
    """log P(k) of a Gaussian on the bin of each level, nats, elementwise; all tensors broadcast.

        P(k) = Φ((k + ½ − 255 μ) / 255 σ) − Φ((k − ½ − 255 μ) / 255 σ)

    With L = `num_levels` levels k / (L − 1), L − 1 is in the place of 255. The bins of the first
    and the last level include the tails, so that Σ_k P(k) = 1 (Ho et al. 2020, "Denoising diffusion
    probabilistic models", eq. 13; Salimans et al. 2017, eq. 2, for logistics).
    """
    last = num_levels - 1
    # bfloat16 has 8 bits: 255 μ would be off by half a level. It has no log Φ either.
    mean, log_scale = at_least_single(mean), at_least_single(log_scale)
    bin_width = torch.exp(-log_scale) / last  # in standard deviations
    centre = (levels - last * mean) * bin_width
    low, high = centre - bin_width / 2, centre + bin_width / 2
    # Above the mean, Φ is too close to 1 for a difference: use the upper tails there.
    above = centre > 0
    log_small = torch.special.log_ndtr(torch.where(above, -high, low))
    log_large = torch.special.log_ndtr(torch.where(above, -low, high))
    ratio = (log_small - log_large).clamp_max(-1e-12)  # log 0 would make the gradient NaN
    log_mass = log_large + torch.log(-torch.expm1(ratio))
    log_mass = torch.where(levels == 0, torch.special.log_ndtr(high), log_mass)
    return torch.where(levels == last, torch.special.log_ndtr(-low), log_mass)


def gaussian_mean(mean: Tensor, log_scale: Tensor) -> Tensor:
    """Σ_k P(k) k / 255 of the masses of `gaussian_log_mass`, in the shape of `mean`.

    It is Σ_k Φ((255 μ − k + ½) / 255 σ) / 255 over the borders k − ½, k = 1 … 255.
    """
    return _by_parts(_mean, mean, log_scale)


def gaussian_std(mean: Tensor, log_scale: Tensor) -> Tensor:
    """Standard deviation of k / 255 under the masses of `gaussian_log_mass`, as `gaussian_mean`.

    With c the level nearest to μ, and t_k the probability beyond the border k − ½, seen from c:

        E[K − c] = Σ_{k > c} t_k − Σ_{k ≤ c} t_k        E[(K − c)²] = Σ_k 2 |k − ½ − c| t_k

    Sums of tails lose no digits, where Σ P(k) k² − (Σ P(k) k)² loses those of a small deviation.
    """
    return _by_parts(_std, mean, log_scale)


def _mean(borders: Tensor, mean: Tensor, bin_width: Tensor) -> Tensor:
    return torch.special.erfc((borders - mean) * bin_width).sum(1) / (2 * (LEVELS - 1))


def _std(borders: Tensor, mean: Tensor, bin_width: Tensor) -> Tensor:
    offset = borders - mean.round().clamp(0, LEVELS - 1)
    tail = torch.special.erfc(((borders - mean) * bin_width).abs()) / 2
    first, second = (offset.sign() * tail).sum(1), (2 * offset.abs() * tail).sum(1)
    # second ≥ |first|, and |first| < 1 if σ is small: rounding does not make it negative
    return (second - first.square()).sqrt() / (LEVELS - 1)


def _by_parts(function: Callable[..., Tensor], mean: Tensor, log_scale: Tensor) -> Tensor:
    """Apply `function` to borders (255,), 255 μ (P, 1) and 1 / (255 σ √2) (P, 1), part by part."""
    mean, log_scale = at_least_single(mean), at_least_single(log_scale)
    last = LEVELS - 1
    borders = torch.arange(1, LEVELS, device=mean.device, dtype=mean.dtype) - 0.5
    bin_width = (torch.exp(-log_scale) / (last * math.sqrt(2))).expand_as(mean)
    size = VALUES_AT_ONCE if mean.device.type == "cpu" else VALUES_AT_ONCE_GPU
    columns = (each.reshape(-1, 1).split(size) for each in (last * mean, bin_width))
    parts = [function(borders, *pair) for pair in zip(*columns, strict=True)]
    return torch.cat(parts).view(mean.shape)
