"""A small U-shaped network that looks at a noisy image and the time, and says what the noise is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

COARSE = 14  # no attention to single pixels above about this side: they are taken in patches


def patch_side(image_shape: tuple[int, int, int]) -> int:
    """Side of the square patches whose pixels become channels: 1 at 8 px, 2 at 28, 4 at 64.

    Raises ValueError for images that such patches do not tile into an even number a side.
    """
    _, height, width = image_shape
    side = 1
    while min(height, width) // (2 * side) >= COARSE:
        side *= 2
    if height % (2 * side) or width % (2 * side):
        raise ValueError(
            f"{height}×{width} pixels do not fit this network: both sides must be multiples of"
            f" {2 * side}: set data.size"
        )
    return side


class Denoiser(nn.Module):
    """(x, t) → an image-shaped answer: x (B, C, H, W), t (B,) in [0, 1].

    Two resolutions with a skip connection between them, residual blocks told the time by scale and
    shift (Ho et al. 2020, appendix B, at a hundredth of the size).
    """

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 32) -> None:
        super().__init__()
        patch = patch_side(image_shape)
        channels = image_shape[0] * patch**2
        self.embed = nn.Sequential(Waves(32), nn.Linear(64, 4 * width), nn.SiLU())
        self.into = nn.Sequential(
            nn.PixelUnshuffle(patch), nn.Conv2d(channels, width, 3, padding=1)
        )
        self.fine = Block(width, 4 * width)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.coarse = nn.ModuleList(Block(2 * width, 4 * width) for _ in range(3))
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.merge = nn.Conv2d(2 * width, width, 1)
        self.finish = Block(width, 4 * width)
        self.out = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.PixelShuffle(patch),
        )
        _nothing(self.out[2])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.embed(t)
        fine, coarse = self.contract(x, time)
        h = self.merge(torch.cat([fine, self.up(coarse)], 1))
        return self.out(self.finish(h, time))  # (B, C, H, W)

    def contract(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Maps at the two resolutions, the way down."""
        fine = self.fine(self.into(x), time)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, time)
        return fine, coarse

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """The deepest maps, max-pooled to 4×4 and flattened, (B, F)."""
        _, coarse = self.contract(x, self.embed(t))
        return nn.functional.adaptive_max_pool2d(coarse, 4).flatten(1)


class Block(nn.Module):
    """x + conv(conv(x), time): the second half of the block starts as nothing."""

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.norm = nn.GroupNorm(8, width, affine=False)
        self.tell = nn.Linear(told, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        _nothing(self.tell)
        _nothing(self.second)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.tell(time)[:, :, None, None].chunk(2, dim=1)
        h = self.norm(self.first(x)) * (1 + scale) + shift
        return x + self.second(nn.functional.silu(h))


def _nothing(layer: nn.Module) -> None:
    """Let a layer start as zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Waves(nn.Module):
    """t (B,) in [0, 1] → sines and cosines of it at `count` frequencies from 1 to 1000."""

    frequencies: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 3, count), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = 2 * math.pi * t[:, None] * self.frequencies  # (B, count)
        return torch.cat([angles.sin(), angles.cos()], 1)
