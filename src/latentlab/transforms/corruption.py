"""Corruptions of images: x → x̃ (B, C, H, W), pure functions with an optional torch.Generator.

The input of a denoising autoencoder is x̃, its target is x (Vincent et al. 2008, "Extracting and
composing robust features with denoising autoencoders"; 2010, "Stacked denoising autoencoders",
section 3.3). Without a generator torch's global one is used. A corruption has one number, its
level: `sigma` of the noise, or the `fraction` of corrupted values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

CorruptionName = Literal["gaussian", "clipped_gaussian", "masking", "salt_and_pepper"]
Corruption = Callable[[Tensor, float, torch.Generator | None], Tensor]


def gaussian(x: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """x + sigma · eps, eps ~ N(0, I); values may leave [0, 1]. Raises ValueError for sigma < 0."""
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma is a standard deviation and must be finite and ≥ 0, got {sigma}")
    eps = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return x + sigma * eps


def clipped_gaussian(x: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """`gaussian`, then clipped to [0, 1], as in a camera: the mean of the noise is no longer 0."""
    return gaussian(x, sigma, generator).clamp(0, 1)


def masking(x: Tensor, fraction: float, generator: torch.Generator | None = None) -> Tensor:
    """Set each value to 0 with probability `fraction`. Raises ValueError outside of [0, 1]."""
    return x * (_uniform(x, fraction, generator) >= fraction)


def salt_and_pepper(x: Tensor, fraction: float, generator: torch.Generator | None = None) -> Tensor:
    """Set each value to 0 or to 1, with probability fraction / 2 each.

    Raises ValueError for a fraction outside of [0, 1].
    """
    u = _uniform(x, fraction, generator)
    pepper, salt = u < fraction / 2, (u >= fraction / 2) & (u < fraction)
    return x.masked_fill(pepper, 0.0).masked_fill(salt, 1.0)


CORRUPTIONS: dict[CorruptionName, Corruption] = {
    "gaussian": gaussian,
    "clipped_gaussian": clipped_gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
}


def corruption_at(name: CorruptionName, level: float) -> Callable[..., Tensor]:
    """Return one of CORRUPTIONS with its level (sigma or fraction) fixed: (x, generator) → x̃.

    Raises ValueError for an unknown name or a level that is not allowed.
    """
    if name not in CORRUPTIONS:
        known = ", ".join(get_args(CorruptionName))
        raise ValueError(f"unknown corruption {name!r}: choose one of {known}")
    corrupt_at = CORRUPTIONS[name]
    corrupt_at(torch.zeros(1), level, torch.Generator())  # raises for a level that is not allowed

    def corrupt(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return corrupt_at(x, level, generator)

    return corrupt


def box_downsample(x: Tensor, scale: int) -> Tensor:
    """Means over boxes of scale × scale pixels: (B, C, H, W) → (B, C, H/scale, W/scale).

    Raises ValueError for a scale below 1 or one that does not divide both sides.
    """
    check_scale(scale, x.shape[-2], x.shape[-1])
    return F.avg_pool2d(x, scale)


def check_scale(scale: int, height: int, width: int) -> None:
    """Raise ValueError unless boxes of scale × scale pixels tile the image."""
    if scale < 1 or height % scale or width % scale:
        raise ValueError(
            f"scale {scale} does not divide images of {height}×{width} pixels:"
            " choose a common divisor of both sides"
        )


def _uniform(x: Tensor, fraction: float, generator: torch.Generator | None) -> Tensor:
    """Sample U(0, 1) in the shape of x; raise ValueError for a fraction outside of [0, 1]."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of corrupted values must be in [0, 1], got {fraction}")
    return torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
