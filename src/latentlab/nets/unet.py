"""A U-shaped network: down to a coarse view of the image, and up again past what was seen.

Ronneberger et al. 2015, "U-Net", with residual blocks (He et al. 2016, "Identity mappings") and
skips that are added. There is no normalisation: every block starts as the identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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


class Residual(nn.Module):
    """x + W₂ relu(W₁ relu(x)), both 3×3: (B, K, h, w) → the same; the identity at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


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
        self.stem = nn.Conv2d(fan_in, channels[0], 3, padding=1)
        self.before = nn.ModuleList(Residual(k) for k in channels)
        self.shrink = nn.ModuleList(nn.Conv2d(fine, k, 2, stride=2) for fine, k in steps)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(k, fine, 2, stride=2) for fine, k in steps)
        self.after = nn.ModuleList(Residual(k) for k in channels)
        self.head = nn.Conv2d(channels[0], fan_out, 3, padding=1)

    def down(self, x: Tensor) -> list[Tensor]:
        """The maps (B, K, h, w) of each level, finest first."""
        maps = [self.before[0](self.stem(x))]
        for shrink, block in zip(self.shrink, self.before[1:], strict=True):
            maps.append(block(shrink(maps[-1])))
        return maps

    def up(self, maps: Sequence[Tensor]) -> Tensor:
        """The maps of `down`, the coarsest maybe changed → (B, fan_out, h, w)."""
        *skips, h = maps
        h = self.after[-1](h)
        for level in reversed(range(len(skips))):
            h = self.after[level](self.grow[level](h) + skips[level])
        return self.head(F.relu(h))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))
