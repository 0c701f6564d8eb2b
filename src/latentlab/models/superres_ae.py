"""Super-resolution autoencoder: the encoder downsamples, the decoder restores the lost detail.

    z = mean of each s × s box of x      d = net(z)      x̂ = d + repeat(z − mean of each box of d)
    min  log Σ_pixels (x̂ − x)²

The code is the downsampled image itself, so `decode` upsamples any small image. The correction of d
makes x̂ downsample to exactly z, as x does. It is an orthogonal projection onto a set that contains
x, so it never increases the error. The mean over images of the log is the mean PSNR, up to a
factor.

Paper: Shi et al. 2016, "Real-time single image and video super-resolution using an efficient
sub-pixel convolutional neural network", for computing on small feature maps until the last layer.
Paper: Irani & Peleg 1991, "Improving resolution by image registration", for the correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.unet import UNet
from latentlab.optim.adam import adam_linear_decay
from latentlab.transforms.corruption import box_downsample, check_scale
from latentlab.utils.bfloat16 import bfloat16_autocast


class SuperResolutionAE(LightningModule):
    """`scale`: s, the ratio of the sides. `channels`: of each level of a U-Net on z, finest first.

    `bf16`: the U-Net in bfloat16, on a GPU and on a processor that computes in it: it is twice as
    fast there. `lr`: Adam's rate, falls linearly to 0.

    Raises ValueError for a scale below 2 or one that does not divide the image.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        scale: int = 2,
        channels: Sequence[int] = (48, 96),
        bf16: bool = False,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        colors, height, width = image_shape
        check_scale(scale, height, width)
        if scale < 2:
            raise ValueError(f"scale is {scale}: super-resolution needs 2 or more")
        self.scale, self.bf16, self.lr = scale, bf16, lr
        height, width = height // scale, width // scale
        self.small_shape = (colors, height, width)
        self.latent_dim = math.prod(self.small_shape)
        self.unet = UNet(colors, colors * scale**2, height=height, width=width, channels=channels)

    def downsample(self, x: Tensor) -> Tensor:
        return box_downsample(x, self.scale)  # (B, C, H/s, W/s)

    def upsample_unclipped(self, x_small: Tensor) -> Tensor:
        """x̂ as in the loss: it downsamples to `x_small`, and values may leave [0, 1]."""
        with bfloat16_autocast(x_small.device, enabled=self.bf16):
            detail = self.unet(x_small)
        detail = F.pixel_shuffle(detail.to(x_small.dtype), self.scale)  # (B, C, H, W)
        return detail + repeat(x_small - self.downsample(detail), self.scale)

    def upsample(self, x_small: Tensor) -> Tensor:
        return self.upsample_unclipped(x_small).clamp(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        return self.downsample(x).flatten(1)  # (B, D)

    features = encode

    def decode(self, z: Tensor) -> Tensor:
        return self.upsample(z.unflatten(1, self.small_shape))

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        sse = squared_error(self.upsample_unclipped(self.downsample(x)), x).clamp_min(1e-6)  # (B,)
        return {
            "loss": sse.log().mean(),
            "sse": sse.mean(),
            "psnr_db": -10 * (sse / x.shape[1:].numel()).log10().mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr, betas=(0.9, 0.99))  # 0.99 suits few steps


def repeat(x_small: Tensor, scale: int) -> Tensor:
    """Repeat each pixel as scale × scale pixels: (B, C, h, w) → (B, C, h · scale, w · scale)."""
    return F.interpolate(x_small, scale_factor=scale, mode="nearest")
