"""Linear autoencoder: without nonlinearities, the best code of D values is that of PCA.

    z = W_e x + b_e        x̂ = W_d z + b_d        min Σ_pixels (x̂ − x)²

The loss has no local minima. At its minimum the columns of W_d span the subspace of the D leading
principal components; the columns are not the components themselves.

Paper: Baldi & Hornik 1989, "Neural networks and principal component analysis".
"""

from __future__ import annotations

import math
from typing import Any

from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.optim.adam import adam_linear_decay


class LinearAE(LightningModule):
    """`latent_dim`: D. `lr`: Adam's rate, falls linearly to 0."""

    family = "AE"

    def __init__(self, image_shape: ImageShape, *, latent_dim: int = 32, lr: float = 1e-3) -> None:
        super().__init__()
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        values = math.prod(image_shape)
        self.encoder = nn.Linear(values, latent_dim)
        self.decoder = nn.Linear(latent_dim, values)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    features = encode

    def decode_unclipped(self, z: Tensor) -> Tensor:
        """x̂ as in the loss: values may leave [0, 1]."""
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_unclipped(z).clamp(0, 1)

    def decoder_basis(self) -> tuple[Tensor, Tensor]:
        return self.decoder.weight, self.decoder.bias

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        sse = squared_error(self.decode_unclipped(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
