"""Stacked autoencoder: depth lets the code follow a curved manifold where PCA needs a flat one.

    z = f(x)      x̂ = σ(g(z))      min Σ_pixels (x̂ − x)²   or   −Σ [x log x̂ + (1−x) log(1−x̂)]

f and g are mirror images (784-300-150 and 150-300-784 on MNIST), trained end to end.
Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import bernoulli_nll, squared_error
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay

CLASSIC = (300 / 784, 150 / 784)


class StackedAE(LightningModule):
    """Widths of the encoder, input aside; the last is the code.

    `widths` None scales the classic 784-300-150 to the image: 300/784 and 150/784 of its numbers,
    so 64-24-12 for an 8×8 image. `reconstruction`: "mse" is the squared error, "bce" the
    cross-entropy. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        widths: Sequence[int] | None = None,
        activation: str = "relu",
        reconstruction: Literal["mse", "bce"] = "mse",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        pixels = channels * height * width
        widths = list(widths or [round(pixels * share) for share in CLASSIC])
        self.image_shape, self.latent_dim, self.lr = image_shape, widths[-1], lr
        self.reconstruction = reconstruction
        self.encoder = mlp([pixels, *widths], activation=activation)
        self.decoder = mlp([*reversed(widths), pixels], activation=activation)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_logits(z).sigmoid()

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.decode_logits(self.encode(x))
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
