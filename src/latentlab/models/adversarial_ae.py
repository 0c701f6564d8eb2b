"""Adversarial autoencoder: a discriminator makes the distribution of the codes match the prior.

    min_{f,g}        −log p(x|g(f(x)))
    min_f max_D      E log D(z) + E log(1 − D(f(x))),   z ~ prior

The density of the prior is not needed, only samples. Each batch has one step of D, then one step of
encoder f and decoder g. The encoder minimizes the reconstruction loss and, with weight
`adversarial_weight`, the non-saturating loss −log D(f(x)).

Differs from the paper: one step on the weighted sum of both losses. The paper has two phases with a
step each, and no weight: here the weight decides between reconstruction and prior.

Paper: Makhzani et al. 2016, "Adversarial autoencoders", arXiv:1511.05644, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.losses.adversarial import discriminator_loss, non_saturating
from latentlab.losses.pixel_likelihood import PixelLikelihood
from latentlab.networks.mlp import mlp
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    discriminator_probabilities,
    frozen,
)

OPTIM = AdversarialOptim(generator_lr=1e-3, discriminator_lr=5e-4, linear_decay=True)


class AdversarialAE(AdversarialSteps, LightningModule):
    """Fully connected, with a deterministic encoder.

    `prior` samples the codes that D sees as real. `hidden`: widths of the encoder, reversed in the
    decoder. `discriminator_hidden`: widths of D. `adversarial_weight`: in nats per image.
    `optim.generator_lr` is the learning rate of encoder and decoder, whose betas are (0.9, 0.999).
    """

    family = "VAE"
    standard_normal_prior = True

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        discriminator_hidden: Sequence[int] = (200, 200),
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        adversarial_weight: float = 10.0,
        optim: AdversarialOptim = OPTIM,
    ) -> None:
        super().__init__()
        if adversarial_weight <= 0:
            raise ValueError(f"adversarial_weight is {adversarial_weight}: it must be > 0")
        self.automatic_optimization = False
        self.image_shape, self.latent_dim, self.prior = image_shape, latent_dim, prior
        self.adversarial_weight, self.optim = adversarial_weight, optim
        num_pixels = math.prod(image_shape)
        self.likelihood = PixelLikelihood(likelihood)
        self.encoder = mlp([num_pixels, *hidden, latent_dim])
        self.decoder = mlp([latent_dim, *reversed(hidden), num_pixels])
        self.discriminator = mlp([latent_dim, *discriminator_hidden, 1])

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def decode_outputs(self, z: Tensor) -> Tensor:
        """Codes (B, D) → the parameters of p(x|z), (B, C, H, W)."""
        return self.decoder(z).unflatten(1, self.image_shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decode_outputs(z))

    features = encode

    def nll_nats(self, x: Tensor, z: Tensor) -> Tensor:
        """−log p(x|z), nats, mean over the batch."""
        return self.likelihood.nll(self.decode_outputs(z), x).mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        z = self.encode(x)

        # Phase 1: the discriminator; codes from the prior are real, codes of images are fake.
        real = self.discriminator(self.sample_prior(x)).squeeze(1)
        fake = self.discriminator(z.detach()).squeeze(1)
        d_loss = discriminator_loss(real, fake)
        self.discriminator_step(d_loss)

        # Phase 2: encoder and decoder, through the frozen discriminator.
        with frozen(self.discriminator):
            nll_nats = self.nll_nats(x, z)
            g_loss = non_saturating(self.discriminator(z).squeeze(1))
            loss = nll_nats + self.adversarial_weight * g_loss
            self.generator_step(loss)

        return {
            "loss": loss,
            "nll_nats": nll_nats,
            "d_loss": d_loss,
            **discriminator_probabilities(real, fake),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        z = self.encode(x)
        nll_nats = self.nll_nats(x, z)
        real, fake = self.discriminator(self.sample_prior(x)), self.discriminator(z)
        return {"nll_nats": nll_nats, **discriminator_probabilities(real, fake)}

    def configure_optimizers(self) -> Any:
        networks = (self.encoder, self.decoder, self.likelihood)
        parameters = [p for network in networks for p in network.parameters()]
        return adversarial_adam(self, [{"params": parameters, "betas": (0.9, 0.999)}])
