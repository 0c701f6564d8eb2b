"""Convolutional autoencoder: the same small detectors everywhere, down to a code and up again.

    z = f(x)      x̂ = σ(g(z))      min Σ_pixels (x̂ − x)²   or   −Σ [x log x̂ + (1−x) log(1−x̂)]

f halves the image by convolutions of stride 2 until 4 to 7 pixels are left; g doubles it again, by
transposed convolutions, by sub-pixel convolutions or by resizing before each convolution.

Masci et al. 2011, "Stacked convolutional auto-encoders for hierarchical feature extraction"; Shi et
al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network"; Odena et al. 2016, "Deconvolution and checkerboard artifacts".
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import bernoulli_nll, squared_error
from latentlab.nets.conv import pyramid
from latentlab.nets.upsampling import upsampling
from latentlab.optimizers import adam_linear_decay


class ConvAE(LightningModule):
    """`width`: channels after the first halving, doubled at each further one.

    `upsample` names how the decoder doubles the sides. `reconstruction`: "mse" is the squared
    error, "bce" the cross-entropy. `lr`: Adam's rate, falling linearly to 0. Raises ValueError for
    images that cannot be halved down to 4…7 pixels.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 32,
        width: int = 16,
        upsample: Literal["transposed", "subpixel", "resize"] = "transposed",
        reconstruction: Literal["mse", "bce"] = "mse",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        self.latent_dim, self.lr, self.reconstruction = latent_dim, lr, reconstruction
        channels = [image_shape[0], *(width * 2**level for level in range(levels))]
        self.smallest = (side, side, channels[-1])
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for fine, coarse in itertools.pairwise(channels):
            down += [nn.Conv2d(fine, coarse, 4, stride=2, padding=1), nn.ReLU()]
            up = [nn.ReLU(), upsampling(upsample, coarse, fine), *up]
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        self.to_code = nn.Linear(side * side * channels[-1], latent_dim)
        self.from_code = nn.Linear(latent_dim, side * side * channels[-1])

    def encode(self, x: Tensor) -> Tensor:
        return self.to_code(self.down(x).movedim(1, 3).flatten(1))  # (B, D)

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.up(self.from_code(z).unflatten(1, self.smallest).movedim(3, 1))  # (B, C, H, W)

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
