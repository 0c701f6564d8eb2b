"""Tied autoencoder: the weights of the decoder are those of the encoder, transposed.

    h_k = s(W_k h_{k−1} + b_k),  h_0 = x        ĥ_{k−1} = s(W_kᵀ ĥ_k + c_k),  ĥ_K = h_K = z
    min Σ_pixels (x̂ − x)²,  x̂ = ĥ_0             ∂/∂W_k = encoder's part + (decoder's part)ᵀ

s is the activation; the code z has none, and x̂ has the logistic function. Tying halves the number
of weights. A linear tied pair reconstructs perfectly only if it is a projection, so the rows of W
become orthonormal.

Paper: Vincent et al. 2010, "Stacked denoising autoencoders", section 2.2, for tied weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.mlp import mlp, scaled_rate, scaled_width
from latentlab.networks.tied import tied_mlp
from latentlab.optim.adam import adam_linear_decay


class TiedAE(LightningModule):
    """`hidden`: widths of the encoder's hidden layers. `lr`: Adam's rate, falls linearly to 0.

    `hidden` and `latent_dim` None: 300 and 150 for MNIST, in proportion to the number of values for
    other images. `decoder_hidden`: None, or `hidden` in reverse; other widths cannot be tied.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        hidden: Sequence[int] | None = None,
        latent_dim: int | None = None,
        decoder_hidden: Sequence[int] | None = None,
        activation: str = "relu",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        hidden = [scaled_width(300, image_shape, "linear")] if hidden is None else list(hidden)
        mirror = hidden[::-1] if decoder_hidden is None else list(decoder_hidden)
        self.latent_dim = latent_dim or scaled_width(150, image_shape, "linear")
        self.image_shape, self.lr = image_shape, scaled_rate(lr, image_shape)
        values = math.prod(image_shape)
        self.encoder = mlp([values, *hidden, self.latent_dim], activation=activation)
        sizes = [self.latent_dim, *mirror, values]
        self.decoder = tied_mlp(self.encoder, sizes, activation=activation)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    features = encode

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        sse = squared_error(self.decode(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
