"""A small U-Net that predicts the noise in an image, given the image and the time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latentlab.contracts import ImageShape

MIN_SIDE = 14  # positions along a side of the finer feature maps, at least, before patches are used


def patch_size(image_shape: ImageShape) -> int:
    """Side of the square patches whose pixels become channels: 1 at 8 px, 2 at 28, 4 at 64.

    Raises ValueError if the patches do not divide the image into an even number along each side.
    """
    _, height, width = image_shape
    size = 1
    while min(height, width) // (2 * size) >= MIN_SIDE:
        size *= 2
    if height % (2 * size) or width % (2 * size):
        raise ValueError(
            f"{height}×{width} pixels do not fit this network: both sides must be multiples of"
            f" {2 * size}: set data.size"
        )
    return size


class DiffusionUNet(nn.Module):
    """x (B, C, H, W) and time t (B,) in [0, 1] → (B, C, H, W).

    Residual blocks at two resolutions, with a skip connection. The time sets a scale and a shift in
    each block (Ho et al. 2020, appendix B, at a hundredth of the size).
    """

    def __init__(self, image_shape: ImageShape, *, width: int = 32) -> None:
        super().__init__()
        patch = patch_size(image_shape)
        channels, time_dim = image_shape[0] * patch**2, 4 * width
        self.embed = nn.Sequential(SinusoidalEmbedding(32), nn.Linear(64, time_dim), nn.SiLU())
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(patch), nn.Conv2d(channels, width, 3, padding=1)
        )
        self.fine = TimeBlock(width, time_dim)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.coarse = nn.ModuleList(TimeBlock(2 * width, time_dim) for _ in range(3))
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.merge = nn.Conv2d(2 * width, width, 1)
        self.last = TimeBlock(width, time_dim)
        self.out = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.PixelShuffle(patch),
        )
        init_zero(self.out[2])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.embed(t)
        fine, coarse = self.contract(x, time)
        h = self.merge(torch.cat([fine, self.up(coarse)], 1))
        return self.out(self.last(h, time))  # (B, C, H, W)

    def contract(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps of the contracting path, at the finer and the coarser resolution."""
        fine = self.fine(self.stem(x), time)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, time)
        return fine, coarse

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """The coarser feature maps, max-pooled to 4×4 and flattened, (B, F)."""
        _, coarse = self.contract(x, self.embed(t))
        return nn.functional.adaptive_max_pool2d(coarse, 4).flatten(1)


class TimeBlock(nn.Module):
    """x + conv(conv(x), time), a residual block that is the identity at initialization."""

    def __init__(self, width: int, time_dim: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.norm = nn.GroupNorm(8, width, affine=False)
        self.scale_and_shift = nn.Linear(time_dim, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        init_zero(self.scale_and_shift)
        init_zero(self.second)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(time)[:, :, None, None].chunk(2, dim=1)
        h = self.norm(self.first(x)) * (1 + scale) + shift
        return x + self.second(nn.functional.silu(h))


def init_zero(layer: nn.Module) -> None:
    """Set all weights and biases of a layer to 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class SinusoidalEmbedding(nn.Module):
    """t (B,) in [0, 1] → (B, 2 · count): sin(2π f t) and cos(2π f t), frequencies f 1 … 1000."""

    frequencies: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 3, count), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = 2 * math.pi * t[:, None] * self.frequencies  # (B, count)
        return torch.cat([angles.sin(), angles.cos()], 1)
