"""Super-resolution autoencoder: the encoder is a coarse camera, the decoder knows what it missed.

    z = mean of each s × s box of x      d = net(z)      x̂ = d + repeat(z − mean of each box of d)
    min  log Σ_pixels (x̂ − x)²

The code is the small image itself, so `decode` enlarges any small image. The second step makes x̂
shrink to exactly z, as x does: a projection onto a flat set that holds x, so it can only come
nearer to x; the network is left with what the camera lost. The mean of the log over images is, up
to a factor, the mean PSNR.

Shi et al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network", for computing on small maps until the last layer; Irani & Peleg 1991,
"Improving resolution by image registration", for going back through the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.corruption import box_downsample, check_scale
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.unet import UNet
from latentlab.optimizers import adam, linear_decay


class SuperResolutionAE(LightningModule):
    """`scale` s is the factor between the sides; `channels` those of each level of a U on z.

    `low_precision`: the U in bfloat16, twice as fast where the CPU has it. `lr`: Adam's rate,
    falling linearly to 0. Raises ValueError for a scale below 2 or one that does not divide the
    image.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        scale: int = 2,
        channels: Sequence[int] = (48, 96),
        low_precision: bool = False,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        colours, height, width = image_shape
        check_scale(scale, height, width)
        if scale < 2:
            raise ValueError(f"scale {scale} leaves nothing to find: choose 2 or more")
        self.scale, self.lr, self.low_precision = scale, lr, low_precision
        height, width = height // scale, width // scale
        self.small_shape = (colours, height, width)
        self.latent_dim = colours * height * width
        self.unet = UNet(colours, colours * scale**2, height=height, width=width, channels=channels)

    def shrink(self, x: Tensor) -> Tensor:
        return box_downsample(x, self.scale)  # (B, C, H/s, W/s)

    def enlarge_freely(self, small: Tensor) -> Tensor:
        """x̂ as the objective sees it: it shrinks to `small`, and may leave [0, 1]."""
        with torch.autocast(small.device.type, torch.bfloat16, enabled=self.low_precision):
            detail = self.unet(small)
        detail = F.pixel_shuffle(detail.to(small.dtype), self.scale)  # (B, C, H, W)
        return detail + repeat(small - self.shrink(detail), self.scale)

    def enlarge(self, small: Tensor) -> Tensor:
        return self.enlarge_freely(small).clamp(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        return self.shrink(x).flatten(1)  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return self.enlarge(z.unflatten(1, self.small_shape))

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        sse = squared_error(self.enlarge_freely(self.shrink(x)), x).clamp_min(1e-6)  # (B,)
        return {
            "loss": sse.log().mean(),
            "sse": sse.mean(),
            "psnr_db": -10 * (sse / x[0].numel()).log10().mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer = adam(self.parameters(), self.lr, betas=(0.9, 0.99))  # few steps: quick to adapt
        schedule = {"scheduler": linear_decay(optimizer, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def repeat(small: Tensor, scale: int) -> Tensor:
    """Each pixel as a box of scale × scale: (B, C, h, w) → (B, C, h · scale, w · scale)."""
    return F.interpolate(small, scale_factor=scale, mode="nearest")
