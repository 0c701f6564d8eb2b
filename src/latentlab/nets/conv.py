"""Convolutional pyramids that halve or double the image until it is 4 to 7 pixels small.

8 → 4, 28 → 14 → 7, 32 → 16 → 8 → 4, 64 → 32 → 16 → 8 → 4: one rule for every size.
"""

from __future__ import annotations

import itertools
from typing import Any

from torch import Tensor, nn

from latentlab.nets.flat import dense


def pyramid(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """How often a square image is halved, and the side that is left: (levels ≥ 1, side 4…7).

    Raises ValueError if the image is not square, too small, or cannot be halved that often.
    """
    _, height, width = image_shape
    side, levels = height, 0
    while side >= 8 and side % 2 == 0:
        side, levels = side // 2, levels + 1
    if height != width or levels == 0 or side >= 8:
        raise ValueError(
            f"{height}×{width} pixels do not fit this network: it needs square images of"
            " 4…7 times a power of two, such as 8, 28, 32, 48, 64 or 128: set data.size"
        )
    return levels, side


class Generator(nn.Module):
    """Codes (B, D) → logits (B, C, H, W), by transposed convolutions of stride 2.

    The first layer projects the code onto (width · 2^(levels−1), side, side); each level doubles
    the side and halves the channels. Batch normalisation and ReLU everywhere but at the output
    (Radford et al. 2016, section 3). `stem`: units of a fully connected layer before all that, as
    in Chen et al. 2016, appendix C.1; 0 for none.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, latent_dim: int, width: int, stem: int = 0
    ) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = [width * 2**level for level in reversed(range(levels))]
        # On a 1×1 input a transposed convolution is a matrix product: written as one, it is faster.
        self.project = nn.Linear(stem or latent_dim, side * side * channels[0], bias=False)
        self.stem = dense(latent_dim, stem) if stem else nn.Identity()
        self.smallest = (side, side, channels[0])
        blocks: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)]
        for fan_in, fan_out in itertools.pairwise(channels):
            blocks += [
                nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(fan_out),
                nn.ReLU(inplace=True),
            ]
        blocks.append(nn.ConvTranspose2d(channels[-1], image_shape[0], 4, stride=2, padding=1))
        self.upsample = nn.Sequential(*blocks)

    def forward(self, z: Tensor) -> Tensor:
        # channels last in memory, as the convolutions want it; so is their gradient then
        return self.upsample(self.project(self.stem(z)).unflatten(1, self.smallest).movedim(3, 1))


class Discriminator(nn.Module):
    """Images (B, C, H, W) → logits (B,), by convolutions of stride 2, mirror of `Generator`.

    LeakyReLU 0.2 everywhere, batch normalisation but on the first layer (Radford 2016, section 3),
    or nowhere: where D's slope at one image is limited, no image may depend on the others.
    """

    head: Any  # one Linear, or what a model puts in its place

    def __init__(
        self, image_shape: tuple[int, int, int], *, width: int, batch_norm: bool = True
    ) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = [image_shape[0], *(width * 2**level for level in range(levels))]
        blocks: list[nn.Module] = []
        for level, (fan_in, fan_out) in enumerate(itertools.pairwise(channels)):
            normalised = batch_norm and level > 0
            blocks.append(nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1, bias=not normalised))
            if normalised:
                blocks.append(nn.BatchNorm2d(fan_out))
            blocks.append(nn.LeakyReLU(0.2, inplace=True))
        self.trunk = nn.Sequential(*blocks)
        self.head = nn.Linear(side * side * channels[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        # flattened channels last: no copy, and no gradient in another layout than its tensor's
        return self.head(self.trunk(x).movedim(1, 3).flatten(1)).squeeze(1)


def init_dcgan(module: nn.Module) -> None:
    """N(0, 0.02²) for weights, N(1, 0.02²) for batch-norm gains (Radford 2016, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
