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
from latentlab.nets.augment import random_shift
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay

CLASSIC = (300 / 784, 150 / 784)


def scaled(widths: Sequence[int] | None, made_for: int | None, pixels: int) -> list[int]:
    """Widths for an image of so many numbers: see StackedAE."""
    if not widths:
        if made_for is not None:
            raise ValueError("made_for scales widths, but there are none: give both, or neither")
        return [round(pixels * share) for share in CLASSIC]
    if min(widths) < 1 or (made_for is not None and made_for < 1):
        raise ValueError(f"widths {list(widths)}, made_for {made_for}: all must be 1 or more")
    factor = 1.0 if made_for is None else (pixels / made_for) ** 0.5
    return [*(max(1, round(width * factor)) for width in widths[:-1]), widths[-1]]


class StackedAE(LightningModule):
    """Widths of the encoder, input aside; the last is the code.

    `widths` None scales the classic 784-300-150 to the image: 300/784 and 150/784 of its numbers,
    so 64-24-12 for an 8×8 image. `widths` given stand as they are, or, with `made_for` the numbers
    of an image, all but the code are scaled by √(numbers of this image / made_for).
    `reconstruction`: "mse" is the squared error, "bce" the cross-entropy. `shift`: training images
    are moved by up to so many pixels. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        widths: Sequence[int] | None = None,
        made_for: int | None = None,
        activation: str = "relu",
        reconstruction: Literal["mse", "bce"] = "mse",
        shift: int = 0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        pixels = channels * height * width
        widths = scaled(widths, made_for, pixels)
        if not 0 <= shift < min(height, width):
            raise ValueError(
                f"shift is {shift} pixels: allowed is 0 (none) … {min(height, width) - 1}"
            )
        self.image_shape, self.latent_dim, self.lr = image_shape, widths[-1], lr
        self.reconstruction, self.shift = reconstruction, shift
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
        return self.loss(random_shift(batch[0], self.shift))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
