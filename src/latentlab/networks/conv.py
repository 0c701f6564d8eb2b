"""Strided convolutions that halve or double the sides of an image.

Images are halved until 4 to 7 pixels are left: 8 → 4, 28 → 14 → 7, 32 → 16 → 8 → 4,
64 → 32 → 16 → 8 → 4. `Conv` and `PlainConv` are the `network` of a config (networks/network.py);
`Generator` and `Discriminator` are the two players of a DCGAN.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.networks.mlp import dense
from latentlab.networks.network import Network
from latentlab.networks.upsampling import Upsampling, upsampling


@dataclass(frozen=True)
class Conv(Network):
    """`PyramidEncoder` and `Generator`: convolutions with batch normalization, DCGAN's layout.

    `width`: channels after the first halving, doubled at each further one. Images must be square,
    see `pyramid`. `upsample`: how the decoder doubles the sides, see `upsampling`.
    """

    width: int = 32
    upsample: Upsampling = "transposed"

    def build(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        *,
        outputs_per_latent: int = 1,
        outputs_per_pixel: int = 1,
    ) -> tuple[nn.Module, nn.Module]:
        channels, height, width = image_shape
        outputs = outputs_per_latent * latent_dim
        output_shape = (outputs_per_pixel * channels, height, width)
        encoder = PyramidEncoder(image_shape, outputs=outputs, width=self.width)
        decoder = Generator(
            output_shape, latent_dim=latent_dim, width=self.width, upsample=self.upsample
        )
        return encoder, decoder


@dataclass(frozen=True)
class PlainConv(Network):
    """Convolutions and ReLU, without batch normalization; the decoder is the mirror image.

    `width` as for `Conv`. `upsample`: how the decoder doubles the sides, see `upsampling`.
    """

    width: int = 16
    upsample: Upsampling = "transposed"

    def build(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        *,
        outputs_per_latent: int = 1,
        outputs_per_pixel: int = 1,
    ) -> tuple[nn.Sequential, nn.Sequential]:
        levels, side = pyramid(image_shape)
        channels = [image_shape[0], *pyramid_channels(self.width, levels)]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for level, (fine, coarse) in enumerate(itertools.pairwise(channels)):
            down += [nn.Conv2d(fine, coarse, 4, stride=2, padding=1), nn.ReLU()]
            outputs = fine if level else outputs_per_pixel * fine
            up = [nn.ReLU(), upsampling(self.upsample, coarse, outputs), *up]
        smallest = (side, side, channels[-1])
        size = side * side * channels[-1]
        encoder = nn.Sequential(
            *down, FlattenChannelsLast(), nn.Linear(size, outputs_per_latent * latent_dim)
        )
        decoder = nn.Sequential(nn.Linear(latent_dim, size), UnflattenChannelsLast(smallest), *up)
        return encoder, decoder


def pyramid(image_shape: ImageShape) -> tuple[int, int]:
    """Number of halvings of a square image, and the side that is left: (levels ≥ 1, side 4…7).

    Raises ValueError if the image is not square, is too small, or cannot be halved so often.
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


def pyramid_channels(width: int, levels: int) -> list[int]:
    """Channels after each halving: `width`, doubled at each further one."""
    return [width * 2**level for level in range(levels)]


class FlattenChannelsLast(nn.Module):
    """(B, C, H, W) → (B, H·W·C): no copy where the feature map is stored channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, 3).flatten(1)


class UnflattenChannelsLast(nn.Module):
    """(B, H·W·C) → (B, C, H, W), stored channels last, for `shape` = (H, W, C)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, self.shape).movedim(3, 1)


class PyramidEncoder(nn.Module):
    """Images (B, C, H, W) → (B, outputs): `halvings` and one linear layer."""

    def __init__(self, image_shape: ImageShape, *, outputs: int, width: int) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        self.trunk, channels = halvings(image_shape[0], levels, width)
        self.head = nn.Linear(side * side * channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).movedim(1, 3).flatten(1))


def halvings(channels: int, levels: int, width: int) -> tuple[nn.Sequential, int]:
    """`levels` convolutions that halve the sides, and the number of channels of their output.

    Each: convolution of stride 2, batch normalization, SiLU. (B, C, H, W) → (B, K, H/2^levels, …).
    """
    sizes = [channels, *pyramid_channels(width, levels)]
    blocks: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        blocks += [
            nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(fan_out),
            nn.SiLU(),
        ]
    return nn.Sequential(*blocks), sizes[-1]


class Generator(nn.Module):
    """Codes (B, D) → logits (B, C, H, W), by convolutions that double the sides.

    The first layer maps the code to (width · 2^(levels−1), side, side). Each level doubles the
    side and halves the channels. Batch normalization and ReLU everywhere except at the output
    (Radford et al. 2016, section 3). `stem`: width of a fully connected layer before the first
    layer, as in Chen et al. 2016, appendix C.1; 0 for none. `upsample`: "transposed" convolutions
    of stride 2 are those of the paper; "resize" avoids their checkerboards, see `upsampling`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int,
        width: int,
        stem: int = 0,
        upsample: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = pyramid_channels(width, levels)[::-1]
        # On a 1×1 input a transposed convolution is a matrix product; a linear layer is faster.
        self.project = nn.Linear(stem or latent_dim, side * side * channels[0], bias=False)
        self.stem = dense(latent_dim, stem) if stem else nn.Identity()
        self.smallest = (side, side, channels[0])
        blocks: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)]
        for fan_in, fan_out in itertools.pairwise(channels):
            blocks += [
                upsampling(upsample, fan_in, fan_out, bias=False),
                nn.BatchNorm2d(fan_out),
                nn.ReLU(inplace=True),
            ]
        blocks.append(upsampling(upsample, channels[-1], image_shape[0]))
        self.upsample = nn.Sequential(*blocks)

    def forward(self, z: Tensor) -> Tensor:
        # The convolutions and their gradients are fastest with channels last in memory.
        return self.upsample(self.project(self.stem(z)).unflatten(1, self.smallest).movedim(3, 1))


class Discriminator(nn.Module):
    """Images (B, C, H, W) → logits (B,), by convolutions of stride 2, mirror of `Generator`.

    LeakyReLU 0.2 everywhere. Batch normalization except on the first layer (Radford et al. 2016,
    section 3). `batch_norm` False: none, for a gradient penalty on single images, because batch
    normalization makes the output for one image depend on the other images.
    """

    head: Any  # one Linear, or the heads of a model with several outputs

    def __init__(self, image_shape: ImageShape, *, width: int, batch_norm: bool = True) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = [image_shape[0], *pyramid_channels(width, levels)]
        blocks: list[nn.Module] = []
        for level, (fan_in, fan_out) in enumerate(itertools.pairwise(channels)):
            normalized = batch_norm and level > 0
            blocks.append(nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1, bias=not normalized))
            if normalized:
                blocks.append(nn.BatchNorm2d(fan_out))
            blocks.append(nn.LeakyReLU(0.2, inplace=True))
        self.trunk = nn.Sequential(*blocks)
        self.head = nn.Linear(side * side * channels[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        # Flattened channels last: no copy, and each gradient has the layout of its tensor.
        return self.head(self.trunk(x).movedim(1, 3).flatten(1)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """Feature maps, max-pooled to 4×4, (B, F) (Radford et al. 2016, section 5.1)."""
        return F.adaptive_max_pool2d(self.trunk(x), 4).flatten(1)


def init_dcgan(module: nn.Module) -> None:
    """Sample weights from N(0, 0.02²), gains of batch normalization from N(1, 0.02²).

    Biases are 0. For `Module.apply` (Radford et al. 2016, section 4).
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
