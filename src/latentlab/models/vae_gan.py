"""VAE-GAN: a VAE whose reconstruction error is measured in a hidden layer of a discriminator.

    encoder   KL(q(z|x) ‖ N(0, I)) + E_q ½ ‖D_l(x) − D_l(x̂)‖²              x̂ = g(z)
    decoder   E_q ½ ‖D_l(x) − D_l(x̂)‖² − λ/2 · E[log D(x̂) + log D(g(z_p))],   z_p ~ N(0, I)
    D         −E[log D(x) + ½ log(1 − D(x̂)) + ½ log(1 − D(g(z_p)))]

D_l is the last hidden layer of the discriminator, normalized over its units, which fixes the scale
of the error. λ is `adversarial_weight`. Reconstructions and samples are averaged, where the paper
adds them: λ is 2/γ of the paper, and the real images have the weight of all generated images. Each
batch has one step of D, then one step of encoder and decoder. The decoder's loss is non-saturating.

Differs from the paper: the losses of reconstructions and of samples are averaged, not added: λ is
2/γ of the paper, and real images have the weight of all generated images.
Differs from the paper: D_l is normalized over its units. The paper uses D_l itself, whose scale D
can change.

Paper: Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric",
arXiv:1512.09300, eqs. 3-9 and algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.adversarial import discriminator_loss, non_saturating
from latentlab.losses.reconstruction import squared_error
from latentlab.losses.variational import kl_standard_normal, reparameterize
from latentlab.networks.batch_norm import batch_statistics
from latentlab.networks.conv import Discriminator, Generator, PyramidEncoder, init_dcgan
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    discriminator_probabilities,
    frozen,
)

OPTIM = AdversarialOptim(generator_lr=5e-4, discriminator_lr=5e-4, linear_decay=True)


class VAEGAN(AdversarialSteps, LightningModule):
    """`width`: channels after the first halving of the image, doubled at each further halving.

    `adversarial_weight`: λ. `optim.generator_lr` is the learning rate of encoder and decoder.
    """

    family = "VAE"
    standard_normal_prior = True

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        width: int = 32,
        adversarial_weight: float = 30.0,
        optim: AdversarialOptim = OPTIM,
    ) -> None:
        super().__init__()
        if adversarial_weight < 0:
            raise ValueError(f"adversarial_weight is {adversarial_weight}: it must be ≥ 0")
        self.automatic_optimization = False
        self.latent_dim, self.adversarial_weight, self.optim = latent_dim, adversarial_weight, optim
        self.encoder = PyramidEncoder(image_shape, outputs=2 * latent_dim, width=width)
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = Discriminator(image_shape, width=width)
        self.generator.apply(init_dcgan)
        self.discriminator.apply(init_dcgan)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z).sigmoid()

    features = encode

    def hidden_layer(self, x: Tensor) -> Tensor:
        """D_l, normalized to mean 0 and variance 1 over the units of each image, (B, units)."""
        units = self.discriminator.trunk(x).flatten(1)
        return F.layer_norm(units, units.shape[1:])

    def feature_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """½ ‖D_l(x) − D_l(x̂)‖², summed over units, (B,). No gradient reaches D_l(x)."""
        with torch.no_grad():
            target = self.hidden_layer(x)
        return 0.5 * squared_error(self.hidden_layer(x_hat), target)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        mu, logvar = self.posterior(x)
        z = reparameterize(mu, logvar)
        x_hat = self.decode(z)
        x_fake = self.decode(torch.cat([z.detach(), torch.randn_like(z)]))  # (2B, C, H, W)

        # Phase 1: the discriminator, on reconstructions and samples.
        real, fake = self.discriminator(x), self.discriminator(x_fake.detach())
        d_loss = discriminator_loss(real, fake)
        self.discriminator_step(d_loss)

        # Phase 2: encoder and decoder. The adversarial loss has no gradient for the encoder.
        with frozen(self.discriminator):
            kl_nats = kl_standard_normal(mu, logvar).mean()
            feature_loss = self.feature_loss(x_hat, x).mean()
            g_loss = non_saturating(self.discriminator(x_fake))
            loss = kl_nats + feature_loss + self.adversarial_weight * g_loss
            self.generator_step(loss)

        return {
            "loss": loss,
            "kl_nats": kl_nats,
            "feature_loss": feature_loss,
            "g_loss": g_loss,
            "d_loss": d_loss,
            **discriminator_probabilities(real, fake),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        mu, logvar = self.posterior(x)
        z = reparameterize(mu, logvar)
        x_fake = self.decode(torch.cat([z, torch.randn_like(z)]))
        with batch_statistics(self.discriminator, len(x)):  # as in training
            real, fake = self.discriminator(x), self.discriminator(x_fake)
            feature_loss = self.feature_loss(x_fake[: len(x)], x).mean()
        return {
            "kl_nats": kl_standard_normal(mu, logvar).mean(),
            "feature_loss": feature_loss,
            "d_loss": discriminator_loss(real, fake),
            **discriminator_probabilities(real, fake),
        }

    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, [*self.encoder.parameters(), *self.generator.parameters()])
