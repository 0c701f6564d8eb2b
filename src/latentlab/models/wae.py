"""Wasserstein autoencoder: a deterministic encoder, and codes distributed like the prior.

    z = f(x),   x̂ = σ(g(z))
    loss = E ‖x − x̂‖² + λ · MMD²(q(z), N(0, I)),     q(z): the distribution of the codes f(x)

A VAE keeps the posterior of each image close to the prior. A WAE compares only the codes of all
images together with the prior, so the codes of two images can be far apart. The MMD is estimated
from the codes of a batch and as many samples of the prior. The squared error is a sum over pixels
and a mean over the batch. The prior is fixed before the training and new images are sampled from
it, so the family is VAE, as for the adversarial autoencoder (WAE-GAN in the paper).

Paper: Tolstikhin et al. 2018, "Wasserstein auto-encoders", arXiv:1711.01558, algorithm 2 (WAE-MMD).
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.losses.variational import mmd
from latentlab.networks.mlp import MLP
from latentlab.networks.network import Network
from latentlab.optim.adam import adam_linear_decay


class WAE(LightningModule):
    """`network` builds encoder and decoder: MLP or Conv. `mmd_weight` is λ.

    `lr`: Adam's learning rate, decays linearly to 0.
    """

    family = "VAE"
    standard_normal_prior = True

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        network: Network = MLP(),
        mmd_weight: float = 10.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if mmd_weight < 0:
            raise ValueError(f"mmd_weight is {mmd_weight}: it must be ≥ 0")
        self.latent_dim, self.mmd_weight, self.lr = latent_dim, mmd_weight, lr
        self.encoder, self.decoder = network.build(image_shape, latent_dim)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid()  # (B, C, H, W)

    features = encode

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        sse = squared_error(self.decode(z), x).mean()
        mmd_squared = mmd(z, torch.randn_like(z))
        return {"loss": sse + self.mmd_weight * mmd_squared, "sse": sse, "mmd": mmd_squared}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
