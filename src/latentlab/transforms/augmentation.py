"""Random changes of images (B, C, H, W) in training: of a model's input, or of all images that a
GAN's discriminator sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Literal["brightness", "contrast", "translation", "cutout"]


def random_translation(x: Tensor, max_shift: int | tuple[int, int]) -> Tensor:
    """Shift each image by −max_shift … max_shift whole pixels along each axis; zeros come in.

    `max_shift`: one number, or one for rows and one for columns. All shifts are equally likely;
    they are drawn from torch's global generator. Raises ValueError for a shift that is negative or
    not smaller than the side of the image.
    """
    batch, _, height, width = x.shape
    down, right = (max_shift, max_shift) if isinstance(max_shift, int) else max_shift
    check_max_shift(down, height)
    check_max_shift(right, width)
    if down == right == 0:
        return x
    shift_rows = torch.randint(0, 2 * down + 1, (batch, 1), device=x.device)
    shift_columns = torch.randint(0, 2 * right + 1, (batch, 1), device=x.device)
    rows = shift_rows + torch.arange(height, device=x.device)  # (B, H), in the padded image
    columns = shift_columns + torch.arange(width, device=x.device)  # (B, W)
    images = torch.arange(batch, device=x.device)[:, None, None]
    padded = F.pad(x, (right, right, down, down)).movedim(1, 3)
    return padded[images, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def check_max_shift(max_shift: int, side: int) -> None:
    """Raise ValueError unless 0 ≤ max_shift < side, in pixels."""
    if not 0 <= max_shift < side:
        raise ValueError(f"max_shift is {max_shift} pixels: it must be in 0 … {side - 1}; 0 is off")


def random_affine(x: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Apply a small random affine map to each image, with bilinear interpolation.

    Uniformly, for strength s: rotation in ±s radians, shear in ±s, zoom in [1 − s, 1 + s],
    translation in [−s/4, s/4] sides of the image. Pixels of the border are repeated outside of it.
    Without `generator` torch's global one is used. Raises ValueError for s outside of [0, 1).
    """
    check_affine_strength(strength)
    if strength == 0:
        return x
    uniform = torch.rand(5, len(x), dtype=x.dtype, device=x.device, generator=generator)
    angle, shear, zoom, *shift = uniform * 2 - 1
    angle, zoom = strength * angle, 1 + strength * zoom
    shift = [strength / 2 * axis for axis in shift]  # the sides of affine_grid are 2 long
    rows = [
        torch.stack([zoom * angle.cos(), zoom * (strength * shear * angle.cos() - angle.sin())]),
        torch.stack([zoom * angle.sin(), zoom * (strength * shear * angle.sin() + angle.cos())]),
    ]
    maps = torch.stack(
        [torch.cat([row, axis[None]]) for row, axis in zip(rows, shift, strict=True)]
    )  # (2, 3, B)
    grid = F.affine_grid(maps.permute(2, 0, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def check_affine_strength(strength: float) -> None:
    """Raise ValueError unless `random_affine` allows `strength`."""
    if not 0 <= strength < 1:
        raise ValueError(f"affine_strength is {strength}: it must be in [0, 1); 0 is off")


# Differentiable augmentations of images in [−1, 1] (Zhao et al. 2020, "Differentiable augmentation
# for data-efficient GAN training", section 3). Pixels that come in or are cut out are 0, mid-grey.


def brightness(x: Tensor) -> Tensor:
    """Add a number from [−0.5, 0.5] to each image."""
    return x + _uniform(x, -0.5, 0.5)


def contrast(x: Tensor) -> Tensor:
    """Scale the differences of each image from its mean by a factor from [0.5, 1.5]."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _uniform(x, 0.5, 1.5)


def translation(x: Tensor) -> Tensor:
    """Shift each image by at most an eighth of its side along each axis."""
    height, width = x.shape[2:]
    return random_translation(x, (round(height / 8), round(width / 8)))


def cutout(x: Tensor) -> Tensor:
    """Set a square of half the side to 0; its centre is anywhere in the image."""
    mask = torch.ones(len(x), 1, 1, 1, device=x.device, dtype=torch.bool)
    for axis in (2, 3):
        side = x.shape[axis]
        centre = torch.randint(0, side, (len(x), 1), device=x.device)
        near = (torch.arange(side, device=x.device) - centre + side // 4) // (side // 2) == 0
        mask = mask & (near[:, None, :, None] if axis == 2 else near[:, None, None, :])
    return x.masked_fill(mask, 0.0)


AUGMENTATIONS: dict[Augmentation, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "translation": translation,
    "cutout": cutout,
}


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    return torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype).uniform_(low, high)
