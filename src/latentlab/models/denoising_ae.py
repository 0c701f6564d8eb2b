"""Denoising autoencoder: reconstruct the image from a corrupted copy.

    x̃ ~ q(x̃|x)      z = σ(W x̃ + b)      x̂ = σ(Wᵀ z + c)      min −Σ [x log x̂ + (1−x) log(1−x̂)]

The input is corrupted, the target is not: copying the input does not reach a small loss, even with
more latents than pixels. Encoder and decoder share one matrix W (784-1000-784 on MNIST). For
features and samples, the image itself is encoded, without corruption.

Paper: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders",
section 2.3.
Paper: Vincent et al. 2010, "Stacked denoising autoencoders", section 3.3, for the corruptions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import ReconstructionLoss, reconstruction_loss
from latentlab.networks.mlp import scaled_width
from latentlab.optim.adam import adam_linear_decay
from latentlab.transforms.corruption import CorruptionName, corruption_at


class DenoisingAE(LightningModule):
    """`latent_dim`: sigmoid units; None: 1000 on MNIST, in proportion to the number of values.

    `corruption` and `corruption_level`: a function of transforms/corruption.py with its sigma or
    fraction. `reconstruction`: "bce" is the cross-entropy, "mse" the squared error. `lr`: Adam's
    rate, falls linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        corruption: CorruptionName = "salt_and_pepper",
        corruption_level: float = 0.4,
        latent_dim: int | None = None,
        reconstruction: ReconstructionLoss = "bce",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.corrupt = corruption_at(corruption, corruption_level)
        if latent_dim is not None and latent_dim < 1:
            raise ValueError(f"latent_dim is {latent_dim}: it must be ≥ 1")
        self.latent_dim = latent_dim or scaled_width(1000, image_shape, "linear")
        self.image_shape, self.lr, self.reconstruction = image_shape, lr, reconstruction
        values = math.prod(image_shape)
        self.encoder = nn.Linear(values, self.latent_dim)
        self.decoder_bias = nn.Parameter(torch.zeros(values))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1)).sigmoid()  # (B, D)

    features = encode

    def decode_logits(self, z: Tensor) -> Tensor:
        logits = F.linear(z, self.encoder.weight.T, self.decoder_bias)
        return logits.unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_logits(z).sigmoid()

    def denoise(self, x_tilde: Tensor) -> Tensor:
        return self.decode(self.encode(x_tilde))

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.decode_logits(self.encode(self.corrupt(x)))
        return reconstruction_loss(logits, x, self.reconstruction)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
