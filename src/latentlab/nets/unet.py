"""A U-shaped network: down to a coarse view of the image, and up again past what was seen.

Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation", figure
1, with padded convolutions and batch normalisation (Ioffe & Szegedy 2015): without it the net is
slow to learn what to do with its skips.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def grids(height: int, width: int, *, levels: int) -> list[tuple[int, int]]:
    """The sides (height, width) of a U's maps, finest first: halved while both are even and ≥ 8.

    At most `levels` of them: 14 → [14, 7], 4 → [4], 32 → [32, 16, 8, 4].
    """
    found = [(height, width)]
    while len(found) < levels and height % 2 == width % 2 == 0 and min(height, width) >= 8:
        height, width = height // 2, width // 2
        found.append((height, width))
    return found


def block(fan_in: int, fan_out: int) -> nn.Sequential:
    """Twice: 3×3 convolution, batch normalisation, ReLU. (B, fan_in, h, w) → (B, fan_out, h, w)."""
    layers: list[nn.Module] = []
    for k in (fan_in, fan_out):
        layers += [nn.Conv2d(k, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """(B, fan_in, h, w) → (B, fan_out, h, w); `channels` of each level, finest first.

    The levels are those of `grids`: small maps take fewer than there are channels for. `down` gives
    the maps of all levels, `up` goes back from the coarsest; between the two a model may add what
    it knows to the coarsest map, whose shape is `bottom` (K, h', w').
    """

    def __init__(
        self, fan_in: int, fan_out: int, *, height: int, width: int, channels: Sequence[int]
    ) -> None:
        super().__init__()
        sides = grids(height, width, levels=len(channels))
        channels = list(channels)[: len(sides)]
        self.bottom = (channels[-1], *sides[-1])
        steps = list(itertools.pairwise(channels))
        self.before = nn.ModuleList(
            itertools.starmap(block, itertools.pairwise([fan_in, *channels]))
        )
        self.grow = nn.ModuleList(nn.ConvTranspose2d(k, fine, 2, stride=2) for fine, k in steps)
        self.after = nn.ModuleList(block(2 * fine, fine) for fine, _ in steps)
        self.head = nn.Conv2d(channels[0], fan_out, 1)

    def down(self, x: Tensor) -> list[Tensor]:
        """The maps (B, K, h, w) of each level, finest first, none negative."""
        maps = [self.before[0](x)]
        for see in self.before[1:]:
            maps.append(see(F.max_pool2d(maps[-1], 2)))
        return maps

    def up(self, maps: Sequence[Tensor]) -> Tensor:
        """The maps of `down`, the coarsest maybe changed → (B, fan_out, h, w)."""
        *skips, h = maps
        for level in reversed(range(len(skips))):
            h = self.after[level](torch.cat([self.grow[level](h), skips[level]], 1))
        return self.head(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))
