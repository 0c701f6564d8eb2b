"""Autoencoder: an encoder and a decoder that reconstruct images from a small code.

    z = f(x)        x̂ = σ(g(z))
    min  Σ_pixels (x̂ − x)²   or   −Σ_pixels [x log x̂ + (1 − x) log(1 − x̂)]

f and g are mirror images: fully connected or convolutional (`network`). A linear f and g find the
subspace of PCA; with nonlinear ones the code can follow a curved manifold of images. Deep fully
connected networks are trained end to end from weights of variance 1/fan_in, which keep the variance
of signals and gradients; the paper of 2006 needed layerwise pretraining.

Paper: Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
Paper: Masci et al. 2011, "Stacked convolutional auto-encoders", for the convolutional network.
Paper: Klambauer et al. 2017, "Self-normalizing neural networks", for SELU and its initial weights.
"""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import ReconstructionLoss, reconstruction_loss
from latentlab.networks.mlp import MLP, scaled_width
from latentlab.networks.network import Network
from latentlab.optim.adam import adam_linear_decay
from latentlab.transforms.augmentation import check_max_shift, random_translation


class Autoencoder(LightningModule):
    """`network` builds encoder and decoder: MLP, PlainConv or Conv.

    `latent_dim`: None takes 150 for MNIST, and in proportion to the number of values for other
    images. `reconstruction`: "mse" is the squared error, "bce" the cross-entropy. `max_shift`:
    training images are shifted at random by at most so many pixels. `lr`: Adam's rate, falls
    linearly to 0; a network whose widths follow the image also scales it.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        network: Network = MLP(hidden=(300,), scaling="linear"),
        latent_dim: int | None = None,
        reconstruction: ReconstructionLoss = "mse",
        max_shift: int = 0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        check_max_shift(max_shift, min(image_shape[1:]))
        self.latent_dim = latent_dim or scaled_width(150, image_shape, "linear")
        self.reconstruction, self.max_shift = reconstruction, max_shift
        self.lr = network.learning_rate(lr, image_shape)
        self.encoder, self.decoder = network.build(image_shape, self.latent_dim)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)  # (B, D)

    features = encode

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid()  # (B, C, H, W)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.decoder(self.encode(x))
        return reconstruction_loss(logits, x, self.reconstruction)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(random_translation(batch[0], self.max_shift))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
