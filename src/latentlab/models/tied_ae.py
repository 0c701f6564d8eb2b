"""Tied autoencoder: the decoder runs the encoder backwards, by the same weights transposed.

    h_k = s(W_k h_{k−1} + b_k),  h_0 = x        ĥ_{k−1} = s(W_kᵀ ĥ_k + c_k),  ĥ_K = h_K = z
    min Σ_pixels (x̂ − x)²,  x̂ = ĥ_0             ∂/∂W_k = encoder's part + (decoder's part)ᵀ

z has no s, x̂ has the logistic function for s. Half the weights, and none can hide in the decoder:
a linear tied pair must be a projection to be perfect, so W tends to orthonormal rows.
Vincent et al. 2010, "Stacked denoising autoencoders", section 2.2, for the tying.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.mlp import mlp
from latentlab.nets.tied import tied_mlp
from latentlab.optimizers import adam_linear_decay

CLASSIC = (300 / 784, 150 / 784)


class TiedAE(LightningModule):
    """`widths` of the encoder, input aside; None scales 300-150 to the image as StackedAE does.

    `decoder_widths`, output aside and code first, may be left out: only the encoder's in reverse
    can be tied. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        widths: Sequence[int] | None = None,
        decoder_widths: Sequence[int] | None = None,
        activation: str = "relu",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        pixels = channels * height * width
        widths = list(widths or [round(pixels * share) for share in CLASSIC])
        mirror = list(decoder_widths or reversed(widths))
        self.image_shape, self.latent_dim, self.lr = image_shape, widths[-1], lr
        self.encoder = mlp([pixels, *widths], activation=activation)
        self.decoder = tied_mlp(self.encoder, [*mirror, pixels], activation=activation)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        sse = squared_error(self.decode(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
