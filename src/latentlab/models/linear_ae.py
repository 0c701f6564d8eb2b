"""Linear autoencoder: without a nonlinearity, the best code of D numbers is PCA's.

    z = W_e x + b_e        x̂ = W_d z + b_d        min Σ_pixels (x̂ − x)²

Baldi & Hornik 1989, "Neural networks and principal component analysis": the loss has no local
minima, and at the optimum the columns of W_d span the subspace of the D leading principal
components, though not the components themselves.
"""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.optimizers import adam_linear_decay


class LinearAE(LightningModule):
    """`latent_dim` D numbers per image; `lr` Adam's rate, falling linearly to 0."""

    family = "AE"

    def __init__(self, image_shape: ImageShape, *, latent_dim: int = 32, lr: float = 1e-3) -> None:
        super().__init__()
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        channels, height, width = image_shape
        pixels = channels * height * width
        self.encoder = nn.Linear(pixels, latent_dim)
        self.decoder = nn.Linear(latent_dim, pixels)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def reconstruct_linearly(self, z: Tensor) -> Tensor:
        """x̂ as the objective sees it: it may leave [0, 1]."""
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.reconstruct_linearly(z).clamp(0, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def decoder_basis(self) -> tuple[Tensor, Tensor]:
        return self.decoder.weight, self.decoder.bias

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        sse = squared_error(self.reconstruct_linearly(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
