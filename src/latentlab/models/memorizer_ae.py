"""Memorizing autoencoder: one number suffices as a code, if all that is asked is to remember.

    z = f(x) ∈ R        x̂ = σ(g(z))        min Σ_{i ≤ N} Σ_pixels (x̂_i − x_i)²,  N images, no more

A decoder with enough units can hang N images on a line like washing, the encoder has to learn only
N places. The error on them says nothing about any other image: a small code is no protection when
the network is large and the images are few, and a training error is no evidence.
Goodfellow et al. 2016, "Deep Learning", section 14.1, has the thought; Zhang et al. 2017,
"Understanding deep learning requires rethinking generalization", networks that fit anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay


class MemorizerAE(LightningModule):
    """Keeps the first `memorize` training images it is shown, and trains on nothing else.

    `hidden` are the encoder's widths, mirrored in the decoder; the code is one number. Every step
    takes all images that are kept. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"
    latent_dim = 1
    memory: Tensor
    kept: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        memorize: int = 50,
        hidden: Sequence[int] = (512, 512),
        activation: str = "relu",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if memorize < 2:
            raise ValueError(f"memorize is {memorize}: one image needs no code; give 2 or more")
        self.image_shape, self.lr = image_shape, lr
        channels, height, width = image_shape
        pixels = channels * height * width
        self.encoder = mlp([pixels, *hidden, 1], activation=activation)
        self.decoder = mlp([1, *reversed(hidden), pixels], activation=activation)
        self.register_buffer("memory", torch.zeros(memorize, pixels))
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))

    def keep(self, x: Tensor) -> None:
        """Put images into the memory until it is full."""
        new = x[: len(self.memory) - int(self.kept)].flatten(1)  # (≤ B, C·H·W)
        self.memory[int(self.kept) : int(self.kept) + len(new)] = new
        self.kept += len(new)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, 1)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def sse(self, x: Tensor) -> Tensor:
        return squared_error(self.decode(self.encode(x)), x).mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        self.keep(batch[0])
        sse = self.sse(self.memory[: int(self.kept)].unflatten(1, self.image_shape))
        return {"loss": sse, "sse": sse}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        sse = self.sse(batch[0])
        return {"loss": sse, "sse": sse}

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
