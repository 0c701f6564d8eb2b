"""Convolutional denoising autoencoder: a U-Net denoises; its coarsest feature map gives the code.

    x̃ ~ q(x̃|x)      m, h = down(x̃)      z = A h      denoised = up(m, h + B z)      x̂ = g(z)
    min  log Σ_pixels (denoised − x)²  +  w · log Σ_pixels (x̂ − x)²

`denoise` uses the skip connections m, so the code z is no bottleneck for it. `encode` and `decode`
use z only: the decoder g, which has no skip connections, must reconstruct the clean image from z.
Some images, drawn anew in each step, are not corrupted, and enter only the second term, so that
the codes of clean images are trained too. The mean over images of the log of the squared error is
the mean PSNR, up to a factor.

Paper: Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation".
Paper: Vincent et al. 2010, "Stacked denoising autoencoders", eq. 9, without the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.mlp import mlp
from latentlab.networks.unet import UNet
from latentlab.optim.adam import adam_linear_decay
from latentlab.transforms.corruption import CorruptionName, corruption_at
from latentlab.utils.bfloat16 import bfloat16_autocast


class ConvDenoisingAE(LightningModule):
    """`channels`: of each level of the U-Net, finest first. `hidden`: width of the decoder g.

    `corruption` and `corruption_level`: a function of transforms/corruption.py with its sigma or
    fraction. `code_weight`: w ≥ 0. `clean_fraction`: probability, in [0, 1), that an image of a
    training batch is not corrupted. `bf16`: the U-Net in bfloat16, on a GPU and on a processor that
    computes in it: it is twice as fast there. `lr`: Adam's rate, falls linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        corruption: CorruptionName,
        corruption_level: float,
        latent_dim: int = 64,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 512,
        code_weight: float = 1.0,
        clean_fraction: float = 0.125,
        bf16: bool = False,
        lr: float = 3e-3,
    ) -> None:
        super().__init__()
        self.corrupt = corruption_at(corruption, corruption_level)
        if not 0 <= clean_fraction < 1:
            raise ValueError(f"clean_fraction is {clean_fraction}: it must be in [0, 1)")
        if code_weight < 0:
            raise ValueError(f"code_weight is {code_weight}: it must be ≥ 0")
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        self.code_weight, self.clean_fraction, self.bf16 = code_weight, clean_fraction, bf16
        colors, height, width = image_shape
        self.unet = UNet(colors, colors, height=height, width=width, channels=channels)
        size = math.prod(self.unet.bottom)
        self.to_code = nn.Linear(size, latent_dim)  # A
        self.from_code = nn.Linear(latent_dim, size)  # B
        self.decoder = mlp([latent_dim, hidden, math.prod(image_shape)])  # g

    def encode_with_skips(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the feature maps of all levels, finest first, and the code (B, D)."""
        with bfloat16_autocast(x.device, enabled=self.bf16):
            maps = self.unet.down(x)
        return maps, self.to_code(maps[-1].to(x.dtype).movedim(1, 3).flatten(1))

    def encode(self, x: Tensor) -> Tensor:
        return self.encode_with_skips(x)[1]

    features = encode

    def decode_unclipped(self, z: Tensor) -> Tensor:
        """x̂ as in the loss: values may leave [0, 1], so that no gradient is lost by clipping."""
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_unclipped(z).clamp(0, 1)

    def denoise_unclipped(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """The denoised image as in the loss: values may leave [0, 1]."""
        channels, height, width = self.unet.bottom
        from_code = self.from_code(z).unflatten(1, (height, width, channels)).movedim(3, 1)
        with bfloat16_autocast(z.device, enabled=self.bf16):
            return self.unet.up([*maps[:-1], maps[-1] + from_code]).to(z.dtype)  # (B, C, H, W)

    def denoise(self, x_tilde: Tensor) -> Tensor:
        return self.denoise_unclipped(*self.encode_with_skips(x_tilde)).clamp(0, 1)

    def loss(
        self, x: Tensor, x_tilde: Tensor, *, corrupted: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`corrupted`, bool (B,): the images of the first term; None: all.

        Without any corrupted image, the first term and `denoised_psnr_db` are 0.
        """
        maps, z = self.encode_with_skips(x_tilde)
        if corrupted is None:
            corrupted = torch.ones(len(x), dtype=torch.bool, device=x.device)
        rows = corrupted if corrupted.any() else ~corrupted  # batch norm needs an image
        weight = corrupted[rows].to(x.dtype)  # 1, or 0 for a batch without a corrupted image
        denoised = self.denoise_unclipped([m[rows] for m in maps], z[rows])
        denoised_sse = squared_error(denoised, x[rows]).clamp_min(1e-6)
        sse = squared_error(self.decode_unclipped(z), x).clamp_min(1e-6)
        psnr_db = -10 * (denoised_sse / math.prod(self.image_shape)).log10()
        return {
            "loss": (weight * denoised_sse.log()).mean() + self.code_weight * sse.log().mean(),
            "denoised_psnr_db": (weight * psnr_db).mean(),
            "sse": sse.mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]
        corrupted = torch.rand(len(x), device=x.device) >= self.clean_fraction
        x_tilde = torch.where(corrupted.view(-1, 1, 1, 1), self.corrupt(x), x)
        return self.loss(x, x_tilde, corrupted=corrupted)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], self.corrupt(batch[0]))

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr, betas=(0.9, 0.99))  # 0.99 suits few steps
