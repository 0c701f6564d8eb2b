"""Denoising autoencoder: to repair an image one must know what images look like.

    x̃ ~ q(x̃|x)      z = σ(W x̃ + b)      x̂ = σ(Wᵀ z + c)      min −Σ [x log x̂ + (1−x) log(1−x̂)]

The input is spoilt, the target is not: copying no longer helps, even with more code units than
pixels. One matrix W serves both ways (784-1000-784 on MNIST). The code of an image, for reading or
sampling, is that of the image itself, unspoilt.

Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders", section
2.3, and 2010, "Stacked denoising autoencoders", section 3.3 for the kinds of noise.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.corruption import corruption
from latentlab.losses.likelihoods import bernoulli_nll, squared_error
from latentlab.optimizers import adam_linear_decay

CLASSIC = 1000 / 784


class DenoisingAE(LightningModule):
    """One layer of `hidden` sigmoid units (None: 1000/784 of the image's numbers), tied weights.

    `noise` with its `strength`: sigma of the Gaussians, the share of numbers hit by masking and
    salt_and_pepper. `reconstruction`: "bce" is the cross-entropy above, "mse" the squared error.
    `lr`: Adam's rate, falling linearly to 0. Raises ValueError for an impossible strength.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        noise: Literal["gaussian", "clipped_gaussian", "masking", "salt_and_pepper"] = (
            "salt_and_pepper"
        ),
        strength: float = 0.4,
        hidden: int | None = None,
        reconstruction: Literal["mse", "bce"] = "bce",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.corrupt = corruption(noise, strength)
        if hidden is not None and hidden < 1:
            raise ValueError(f"hidden is the number of code units: it must be ≥ 1, got {hidden}")
        channels, height, width = image_shape
        pixels = channels * height * width
        self.image_shape, self.lr, self.reconstruction = image_shape, lr, reconstruction
        self.latent_dim = hidden or round(CLASSIC * pixels)
        self.encoder = nn.Linear(pixels, self.latent_dim)
        self.decoder_bias = nn.Parameter(torch.zeros(pixels))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1)).sigmoid()  # (B, D)

    def decode_logits(self, z: Tensor) -> Tensor:
        logits = F.linear(z, self.encoder.weight.T, self.decoder_bias)
        return logits.unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_logits(z).sigmoid()

    def denoise(self, x_tilde: Tensor) -> Tensor:
        return self.decode(self.encode(x_tilde))

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.decode_logits(self.encode(self.corrupt(x)))
        sse = squared_error(logits.sigmoid(), x).mean()
        loss = sse if self.reconstruction == "mse" else bernoulli_nll(logits, x).mean()
        return {"loss": loss, "sse": sse}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
