"""GAN: a generator and a discriminator, both fully connected, are trained against each other.

    V(D, G) = E log D(x) + E log(1 − D(G(z))),   z ~ prior
    D maximizes V. G minimizes V, or minimizes a loss with larger gradients.

The discriminator is updated at every batch, the generator at every `discriminator_steps`-th batch.
Each update uses new codes. `loss` is the generator's: minimax, non_saturating, maximum_likelihood.

Paper: Goodfellow et al. 2014, "Generative adversarial nets", arXiv:1406.2661, algorithm 1.
Paper: Goodfellow 2014, "On distinguishability criteria for estimating generative models",
arXiv:1412.6515, section 2 (maximum_likelihood).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.networks.mlp import FlatDiscriminator, FlatGenerator
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialTraining,
    frozen,
)


class GAN(AdversarialTraining, LightningModule):
    """`hidden`: widths of the generator, reversed in the discriminator.

    `prior` samples the codes. Images are in [-1, 1] inside.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 64,
        hidden: Sequence[int] = (256, 512),
        loss: Literal["minimax", "non_saturating", "maximum_likelihood"] = "non_saturating",
        optim: AdversarialOptim = AdversarialOptim(linear_decay=True),
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        self.setup_training(
            prior, latent_dim=latent_dim, loss=loss, optim=optim, regularization=regularization
        )
        input_shape = regularization.packed_shape(image_shape)
        self.generator = FlatGenerator(image_shape, latent_dim=latent_dim, hidden=hidden)
        self.discriminator = FlatDiscriminator(input_shape, hidden=[*hidden][::-1])
        regularization.apply_to(self.discriminator)

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z).tanh()  # (B, C, H, W)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1

        # Phase 1: the discriminator.
        with torch.no_grad():
            x_fake = self.generate(self.sample_prior(x))
        real, fake, r1_penalty = self.discriminate(x, x_fake)
        d_loss = self.d_loss(real, fake)
        self.discriminator_step(d_loss + r1_penalty)

        # Phase 2: the generator, with new codes, through the frozen discriminator.
        if self.updates_generator():
            x_fake = self.generate(self.sample_prior(x))
            with frozen(self.discriminator):
                self.generator_step(self.g_loss(self.discriminator(self.augment(x_fake))))

        g_loss = self.g_loss(fake.detach())
        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **self.probabilities(real, fake),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.validation(*batch)
