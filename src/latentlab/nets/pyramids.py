"""The way down a convolutional pyramid, for encoders; `conv.Generator` is the way up."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from latentlab.nets.conv import pyramid


class PyramidEncoder(nn.Module):
    """Images (B, C, H, W) → (B, outputs), by convolutions of stride 2 and one linear layer.

    `width`: channels after the first halving, doubled at each one; batch normalisation and SiLU.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, outputs: int, width: int) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        self.trunk, channels = halvings(image_shape[0], levels, width)
        self.head = nn.Linear(side * side * channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).movedim(1, 3).flatten(1))


def halvings(channels: int, levels: int, width: int) -> tuple[nn.Sequential, int]:
    """`levels` convolutions that halve the side; and how many channels come out."""
    sizes = [channels, *(width * 2**level for level in range(levels))]
    blocks: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        blocks += [
            nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(fan_out),
            nn.SiLU(),
        ]
    return nn.Sequential(*blocks), sizes[-1]
