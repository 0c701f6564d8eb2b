"""Deep autoencoder: three hidden layers fold a curved surface of images into a few numbers.

    z = f(x)      x̂ = σ(g(z))      min E_t Σ_pixels (x̂(t·x) − t·x)²,  t: a shift of ≤ s pixels
    h_k = selu(W_k h_{k−1} + b_k),  W_k ~ N(0, 1/fan_in) at the start,  b_k = 0

784-1000-500-250-30 and back on MNIST. Hinton and Salakhutdinov could train it only from a start
found layer by layer; weights of variance 1/fan_in, which let signals and gradients neither die nor
explode, do as well. Shifted copies of the images, if any, stand against overfitting.
Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; Klambauer
et al. 2017, "Self-normalizing neural networks", for SELU and its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import bernoulli_nll, squared_error
from latentlab.nets.augment import random_shift
from latentlab.nets.mlp import init_lecun, mlp
from latentlab.optimizers import adam_linear_decay

CLASSIC, CLASSIC_PIXELS = (1000, 500, 250), 784


class DeepAE(LightningModule):
    """`hidden` are the encoder's widths, mirrored in the decoder, `latent_dim` the code's.

    `hidden` None scales 1000-500-250 by the root of the image's numbers over 784, so 286-143-71 for
    an 8×8 image. `reconstruction`: "mse" is the squared error, "bce" the cross-entropy. `shift`:
    training images are moved by up to so many pixels. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 30,
        hidden: Sequence[int] | None = None,
        activation: str = "selu",
        reconstruction: Literal["mse", "bce"] = "mse",
        shift: int = 0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if not 0 <= shift < min(height, width):
            raise ValueError(
                f"shift is {shift} pixels: allowed is 0 (none) … {min(height, width) - 1}"
            )
        pixels = channels * height * width
        if not hidden:
            hidden = [round(units * (pixels / CLASSIC_PIXELS) ** 0.5) for units in CLASSIC]
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        self.reconstruction, self.shift = reconstruction, shift
        self.encoder = mlp([pixels, *hidden, latent_dim], activation=activation)
        self.decoder = mlp([latent_dim, *reversed(hidden), pixels], activation=activation)
        self.apply(init_lecun)

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
        return self.loss(random_shift(batch[0], self.shift))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
