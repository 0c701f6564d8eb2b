"""U-Net: a convolutional encoder and decoder with skip connections between equal sizes.

Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation", figure
1, with padded convolutions and batch normalization (Ioffe & Szegedy 2015): without normalization
the network learns slowly to use its skip connections.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def level_sizes(height: int, width: int, *, levels: int) -> list[tuple[int, int]]:
    """Sizes (height, width) of the feature maps, finest first: halved while both are even and ≥ 8.

    At most `levels` of them: 14 → [14, 7], 4 → [4], 32 → [32, 16, 8, 4].
    """
    sizes = [(height, width)]
    while len(sizes) < levels and height % 2 == width % 2 == 0 and min(height, width) >= 8:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return sizes


def conv_block(fan_in: int, fan_out: int) -> nn.Sequential:
    """Twice: 3×3 convolution, batch normalization, ReLU. (B, fan_in, h, w) → (B, fan_out, h, w)."""
    layers: list[nn.Module] = []
    for k in (fan_in, fan_out):
        layers += [nn.Conv2d(k, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """(B, fan_in, h, w) → (B, fan_out, h, w); `channels` of each level, finest first.

    The number of levels is that of `level_sizes`: for small images the last `channels` are unused.
    `down` returns the feature maps of all levels, `up` starts at the coarsest. A model may change
    the coarsest feature map, of shape `bottom` (K, h', w'), between the two.
    """

    def __init__(
        self, fan_in: int, fan_out: int, *, height: int, width: int, channels: Sequence[int]
    ) -> None:
        super().__init__()
        sizes = level_sizes(height, width, levels=len(channels))
        channels = list(channels)[: len(sizes)]
        self.bottom = (channels[-1], *sizes[-1])
        steps = list(itertools.pairwise(channels))
        self.before = nn.ModuleList(
            itertools.starmap(conv_block, itertools.pairwise([fan_in, *channels]))
        )
        self.grow = nn.ModuleList(nn.ConvTranspose2d(k, fine, 2, stride=2) for fine, k in steps)
        self.after = nn.ModuleList(conv_block(2 * fine, fine) for fine, _ in steps)
        self.head = nn.Conv2d(channels[0], fan_out, 1)

    def down(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps (B, K, h, w) ≥ 0 of each level, finest first."""
        maps = [self.before[0](x)]
        for layer in self.before[1:]:
            maps.append(layer(F.max_pool2d(maps[-1], 2)))
        return maps

    def up(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature maps as `down` returns them → (B, fan_out, h, w)."""
        *skips, h = maps
        for level in reversed(range(len(skips))):
            h = self.after[level](torch.cat([self.grow[level](h), skips[level]], 1))
        return self.head(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))
