"""Memorizing autoencoder: a code of one number is enough to memorize the training images.

    z = f(x) ∈ R        x̂ = σ(g(z))        min Σ_{i ≤ N} Σ_pixels (x̂_i − x_i)²,  N images, no more

A large decoder can map N values of z to N arbitrary images. The encoder only has to learn these N
values. The error on the N images is no evidence about other images: a small code does not prevent
overfitting if the network is large and the images are few.

Paper: Goodfellow et al. 2016, "Deep Learning", section 14.1.
Paper: Zhang et al. 2017, "Understanding deep learning requires rethinking generalization".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, distributed

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.mlp import mlp
from latentlab.optim.adam import adam_linear_decay


class MemorizerAE(LightningModule):
    """Trains only on the first `num_images` training images; every step uses all of them.

    `hidden`: widths of the encoder's hidden layers, mirrored in the decoder. `lr`: Adam's rate,
    falls linearly to 0.
    """

    family = "AE"
    latent_dim = 1
    memory: Tensor  # (num_images, C·H·W)
    num_stored: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        num_images: int = 50,
        hidden: Sequence[int] = (512, 512),
        activation: str = "relu",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if num_images < 2:
            raise ValueError(f"num_images is {num_images}: one image needs no code; give 2 or more")
        self.image_shape, self.lr = image_shape, lr
        values = math.prod(image_shape)
        self.encoder = mlp([values, *hidden, 1], activation=activation)
        self.decoder = mlp([1, *reversed(hidden), values], activation=activation)
        self.register_buffer("memory", torch.zeros(num_images, values))
        self.register_buffer("num_stored", torch.zeros((), dtype=torch.int64))

    def store(self, x: Tensor) -> None:
        """Append images to the memory until it is full."""
        stored = int(self.num_stored)
        new = x[: len(self.memory) - stored].flatten(1)  # (≤ B, C·H·W)
        self.memory[stored : stored + len(new)] = new
        self.num_stored += len(new)

    def whole_batch(self, x: Tensor) -> Tensor:
        """The images of all processes in the order of the batch; each has every n-th of them."""
        if self._trainer is None or self.trainer.world_size == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.trainer.world_size)]
        distributed.all_gather(parts, x)
        return torch.stack(parts, 1).flatten(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, 1)

    features = encode

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        sse = squared_error(self.decode(self.encode(x)), x).mean()
        return {"loss": sse, "sse": sse}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        self.store(self.whole_batch(batch[0]))
        return self.loss(self.memory[: int(self.num_stored)].unflatten(1, self.image_shape))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
