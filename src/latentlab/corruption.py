"""What spoils an image: x → x̃ (B, C, H, W), pure functions with an optional torch.Generator.

A denoising autoencoder sees x̃ and must give back x (Vincent et al. 2008, "Extracting and composing
robust features with denoising autoencoders"; 2010, "Stacked denoising autoencoders", section 3.3
for the three kinds of noise). Without a generator the global one draws.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Corruption = Callable[[Tensor, float, torch.Generator | None], Tensor]


def gaussian(x: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """x + sigma · eps, eps ~ N(0, I): may leave [0, 1]. Raises ValueError for sigma < 0."""
    _check_sigma(sigma)
    return x + sigma * _like(x, torch.randn, generator)


def clipped_gaussian(x: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """The same, clipped to [0, 1] as a camera would: the noise is then no longer of mean 0."""
    return gaussian(x, sigma, generator).clamp(0, 1)


def masking(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Each number is set to 0 with probability `share`. Raises ValueError outside of [0, 1]."""
    _check_share(share)
    return x * (_like(x, torch.rand, generator) >= share)


def salt_and_pepper(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Each number becomes 0 or 1, either with probability share / 2, else stays.

    Raises ValueError for a share outside of [0, 1].
    """
    _check_share(share)
    u = _like(x, torch.rand, generator)
    pepper, salt = u < share / 2, (u >= share / 2) & (u < share)
    return x.masked_fill(pepper, 0.0).masked_fill(salt, 1.0)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": gaussian,
    "clipped_gaussian": clipped_gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
}


def corruption(name: str, strength: float) -> Callable[..., Tensor]:
    """One of CORRUPTIONS with its strength (sigma or share) set: (x, generator) → x̃.

    Raises ValueError for an unknown name or an impossible strength, before any image is seen.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}: choose one of {', '.join(CORRUPTIONS)}")
    corrupt = CORRUPTIONS[name]
    corrupt(torch.zeros(1), strength, torch.Generator())  # refuses an impossible strength

    def spoil(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return corrupt(x, strength, generator)

    return spoil


def box_downsample(x: Tensor, scale: int) -> Tensor:
    """Means over boxes of scale × scale pixels: (B, C, H, W) → (B, C, H/scale, W/scale).

    Raises ValueError for a scale below 1 or one that does not divide both sides.
    """
    check_scale(scale, x.shape[-2], x.shape[-1])
    return F.avg_pool2d(x, scale)


def warp(x: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Each image (B, C, H, W) as seen through a small affine map of its own.

    Turned by at most `strength` radians, sheared and zoomed by at most that share, moved by at most
    a quarter of it, in sides of the image; bilinear, the border's pixels go on beyond it. Raises
    ValueError for a strength outside of [0, 1).
    """
    check_warp(strength)
    if strength == 0:
        return x
    turn, shear, zoom, *move = _like(x.new_empty(5, len(x)), torch.rand, generator) * 2 - 1
    turn, zoom = strength * turn, 1 + strength * zoom
    move = [strength / 2 * axis for axis in move]  # affine_grid's sides are 2 long
    rows = [
        torch.stack([zoom * turn.cos(), zoom * (strength * shear * turn.cos() - turn.sin())]),
        torch.stack([zoom * turn.sin(), zoom * (strength * shear * turn.sin() + turn.cos())]),
    ]
    maps = torch.stack([torch.cat([row, step[None]]) for row, step in zip(rows, move, strict=True)])
    grid = F.affine_grid(maps.permute(2, 0, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def check_warp(strength: float) -> None:
    """Raise ValueError unless `strength` is one that `warp` allows."""
    if not 0 <= strength < 1:
        raise ValueError(f"warp is {strength}: it must be in [0, 1); 0 leaves images as they are")


def check_scale(scale: int, height: int, width: int) -> None:
    """Raise ValueError unless boxes of scale × scale pixels tile the image."""
    if scale < 1 or height % scale or width % scale:
        raise ValueError(
            f"scale {scale} does not divide images of {height}×{width} pixels:"
            " choose a common divisor of both sides"
        )


def _like(x: Tensor, draw: Callable[..., Tensor], generator: torch.Generator | None) -> Tensor:
    return draw(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def _check_sigma(sigma: float) -> None:
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma is a standard deviation and must be finite and ≥ 0, got {sigma}")


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share is a part of all numbers and must be in [0, 1], got {share}")
