"""Overcomplete autoencoder: with more codes than pixels and nothing else asked of it, it copies.

    z = max(0, W_e x + b_e)        x̂ = W_d z + b_d        min Σ_pixels (x̂ − x)²,  D > pixels

The identity is a solution: W_e = [I; −I], W_d = [I, −I] return any image, so the loss can reach 0
without a word about what the images have in common. The error is near 0 on noise as well (see the
study "copying"), which is why overcomplete codes need sparsity, noise or contraction.
Bengio et al. 2007, "Greedy layer-wise training of deep networks", section 5, raise the question;
Goodfellow et al. 2016, "Deep Learning", section 14.2, has the answers.
"""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay


class OvercompleteAE(LightningModule):
    """`times`: codes per number of the image, more than 1. `lr`: Adam's, falling linearly to 0."""

    family = "AE"

    def __init__(self, image_shape: ImageShape, *, times: float = 2.0, lr: float = 1e-3) -> None:
        super().__init__()
        if times <= 1:
            raise ValueError(
                f"times is {times}: an overcomplete code has more than 1 per number of the image;"
                " take stacked_ae or linear_ae for a smaller one"
            )
        channels, height, width = image_shape
        pixels = channels * height * width
        self.image_shape, self.latent_dim, self.lr = image_shape, round(times * pixels), lr
        self.encoder = mlp([pixels, self.latent_dim])
        self.decoder = mlp([self.latent_dim, pixels])

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1)).relu()  # (B, D)

    def reconstruct_linearly(self, z: Tensor) -> Tensor:
        """x̂ as the objective sees it: it may leave [0, 1]."""
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.reconstruct_linearly(z).clamp(0, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        sse = squared_error(self.reconstruct_linearly(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
