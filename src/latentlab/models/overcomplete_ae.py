"""Overcomplete autoencoder: with more latents than pixels and no penalty, it copies its input.

    z = max(0, W_e x + b_e)        x̂ = W_d z + b_d        min Σ_pixels (x̂ − x)²,  D > pixels

The identity is a solution: W_e = [I; −I], W_d = [I, −I] reconstruct any image. So the loss can
reach 0 without any knowledge of the data, and the error is near 0 on noise too (diagnostic
identity_mapping). Therefore overcomplete codes need sparsity, noise or contraction.

Paper: Bengio et al. 2007, "Greedy layer-wise training of deep networks", section 5.
Paper: Goodfellow et al. 2016, "Deep Learning", section 14.2.
"""

from __future__ import annotations

import math
from typing import Any

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.mlp import mlp
from latentlab.optim.adam import adam_linear_decay


class OvercompleteAE(LightningModule):
    """`expansion`: latents for each value of the image, > 1. `lr`: Adam's, falls linearly to 0."""

    family = "AE"

    def __init__(
        self, image_shape: ImageShape, *, expansion: float = 2.0, lr: float = 1e-3
    ) -> None:
        super().__init__()
        if expansion <= 1:
            raise ValueError(
                f"expansion is {expansion}: an overcomplete code has more than 1 latent for each"
                " value of the image; choose stacked_ae or linear_ae for a smaller code"
            )
        values = math.prod(image_shape)
        self.image_shape, self.latent_dim, self.lr = image_shape, round(expansion * values), lr
        self.encoder = mlp([values, self.latent_dim])
        self.decoder = mlp([self.latent_dim, values])

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1)).relu()  # (B, D)

    features = encode

    def decode_unclipped(self, z: Tensor) -> Tensor:
        """x̂ as in the loss: values may leave [0, 1]."""
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_unclipped(z).clamp(0, 1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        sse = squared_error(self.decode_unclipped(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
