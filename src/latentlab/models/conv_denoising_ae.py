"""Convolutional denoising autoencoder: a U-shaped network repairs, and its bottom is the code.

    x̃ ~ q(x̃|x)      m, h = down(x̃)      z = A h      repaired = up(m, h + B z)      x̂ = g(z)
    min  log Σ_pixels (repaired − x)²  +  w · log Σ_pixels (x̂ − x)²

Repairing may use the maps m that skip the code, so `denoise` is no bottleneck. `encode` and
`decode` are one: z alone, at the bottom of the U, must carry the clean image for a decoder g of its
own, which sees no skip; what z knows of the whole image helps the way up as well. A share of each
batch stays unspoilt and is only encoded and decoded, so that the code of a clean image means the
same; there is nothing to repair. The mean over images of the log of the squared error is, up to a
factor, the mean PSNR.

Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation"; Vincent
et al. 2010, "Stacked denoising autoencoders", eq. 9 for the objective without the logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.corruption import corruption
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.mlp import mlp
from latentlab.nets.unet import UNet
from latentlab.optimizers import adam, linear_decay


class ConvDenoisingAE(LightningModule):
    """`channels` of each level of the U, finest first.

    `noise` with its `strength`: sigma of the Gaussians, the share of numbers hit by masking and
    salt_and_pepper. `hidden`: width of the code's decoder. `code_weight` is w, `clean_share` the
    share of unspoilt images. `low_precision`: the U in bfloat16, twice as fast where the CPU has
    it. `lr`: Adam's rate, falling linearly to 0. Raises ValueError for an impossible strength or
    share.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        noise: Literal["gaussian", "clipped_gaussian", "masking", "salt_and_pepper"],
        strength: float,
        latent_dim: int = 64,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 512,
        code_weight: float = 1.0,
        clean_share: float = 0.125,
        low_precision: bool = False,
        lr: float = 3e-3,
    ) -> None:
        super().__init__()
        self.corrupt = corruption(noise, strength)
        colours, height, width = image_shape
        if not 0 <= clean_share < 1:
            raise ValueError(f"clean_share is a part of each batch, in [0, 1), got {clean_share}")
        if code_weight < 0:
            raise ValueError(f"code_weight is a weight and must be ≥ 0, got {code_weight}")
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        self.code_weight, self.clean_share = code_weight, clean_share
        self.low_precision = low_precision
        self.unet = UNet(colours, colours, height=height, width=width, channels=channels)
        k, h, w = self.unet.bottom
        self.to_code = nn.Linear(k * h * w, latent_dim)
        self.from_code = nn.Linear(latent_dim, k * h * w)
        self.decoder = mlp([latent_dim, hidden, colours * height * width])

    def describe(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps on the way down, finest first, and the code (B, D)."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
            maps = self.unet.down(x)
        return maps, self.to_code(maps[-1].to(x.dtype).movedim(1, 3).flatten(1))

    def encode(self, x: Tensor) -> Tensor:
        return self.describe(x)[1]

    def draw(self, z: Tensor) -> Tensor:
        """g(z) as the objective sees it: it may leave [0, 1], so that no pixel gets stuck there."""
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.draw(z).clamp(0, 1)

    def repair(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """The way up, as the objective sees it: it may leave [0, 1]."""
        k, h, w = self.unet.bottom
        known = self.from_code(z).unflatten(1, (h, w, k)).movedim(3, 1)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.low_precision):
            return self.unet.up([*maps[:-1], maps[-1] + known]).to(z.dtype)  # (B, C, H, W)

    def denoise(self, x_tilde: Tensor) -> Tensor:
        return self.repair(*self.describe(x_tilde)).clamp(0, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor, x_tilde: Tensor, *, clean: int = 0) -> dict[str, Tensor]:
        """The first `clean` images are unspoilt: there is nothing to repair, only to describe."""
        maps, z = self.describe(x_tilde)
        spoilt = [m[clean:] for m in maps]
        repaired = squared_error(self.repair(spoilt, z[clean:]), x[clean:]).clamp_min(1e-6)
        sse = squared_error(self.draw(z), x).clamp_min(1e-6)
        return {
            "loss": repaired.log().mean() + self.code_weight * sse.log().mean(),
            "denoised_psnr_db": -10 * (repaired / x[0].numel()).log10().mean(),
            "sse": sse.mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, x_tilde = batch[0], self.corrupt(batch[0])
        clean = int(self.clean_share * len(x))
        x_tilde[:clean] = x[:clean]
        return self.loss(x, x_tilde, clean=clean)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], self.corrupt(batch[0]))

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer = adam(self.parameters(), self.lr, betas=(0.9, 0.99))  # few steps: quick to adapt
        schedule = {"scheduler": linear_decay(optimizer, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
