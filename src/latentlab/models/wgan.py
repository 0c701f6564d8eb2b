"""Wasserstein GAN: a critic with a bounded gradient estimates the distance of the distributions.

    min_G max_D  E D(x) − E D(G(z)),   D 1-Lipschitz
    with gradient penalty, D minimizes  E D(G(z)) − E D(x) + gp_weight · E(‖∇D(x̂)‖ − 1)²

`clip`: the weights of the critic are clipped, so that it is Lipschitz (2017a). `clip` null: the
gradient penalty is used instead (2017b). The critic is updated at every batch, the generator at
every `discriminator_steps`-th batch, each with new codes.

Differs from the paper: Adam, where algorithm 1 of 2017a has RMSProp.

Paper: Arjovsky et al. 2017a, "Wasserstein GAN", arXiv:1701.07875, algorithm 1.
Paper: Gulrajani et al. 2017b, "Improved training of Wasserstein GANs", arXiv:1704.00028,
algorithm 1.
"""

from __future__ import annotations

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.losses.adversarial import gradient_penalty
from latentlab.networks.conv import Discriminator, Generator, init_dcgan
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim, AdversarialTraining, frozen

UNSUPPORTED = {"real_label": "a critic has no labels", "fake_label": "a critic has no labels"}
OPTIM = AdversarialOptim(
    generator_lr=1e-4,
    discriminator_lr=1e-4,
    betas=(0.0, 0.9),
    linear_decay=True,
    discriminator_steps=5,
)


class WGAN(AdversarialTraining, LightningModule):
    """The networks of DCGAN. With the gradient penalty, the critic has no batch normalization.

    `clip`: the weights of the critic stay in [-clip, clip]; None: gradient penalty with weight
    `gp_weight`. `discriminator` is the critic. Images are in [-1, 1] inside.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 100,
        width: int = 32,
        clip: float | None = None,
        gp_weight: float = 10.0,
        optim: AdversarialOptim = OPTIM,
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        if clip is not None and clip <= 0:
            raise ValueError(f"clip is {clip}: it must be > 0, or null for the gradient penalty")
        if gp_weight < 0:
            raise ValueError(f"gp_weight is {gp_weight}: it must be ≥ 0")
        regularization.require_supported(UNSUPPORTED, model="WGAN")
        if clip is not None and regularization.spectral_norm:
            raise ValueError(
                f"clip is {clip} and spectral_norm is true, but spectral normalization scales the"
                " clipped weights again: set clip to null, or remove spectral_norm"
            )
        self.setup_training(
            prior,
            latent_dim=latent_dim,
            loss="wasserstein",
            optim=optim,
            regularization=regularization,
        )
        self.clip, self.gp_weight = clip, gp_weight
        input_shape = regularization.packed_shape(image_shape)
        batch_norm = regularization.batch_norm and clip is not None
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = Discriminator(input_shape, width=width, batch_norm=batch_norm)
        self.apply(init_dcgan)
        regularization.apply_to(self.discriminator)

    @property
    def needs_double_backward(self) -> bool:
        return self.clip is None or self.regularization.r1_gamma > 0

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z).tanh()  # (B, C, H, W)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1

        # Phase 1: the critic.
        terms = self.critic_losses(x)
        self.discriminator_step(terms["loss"])
        if self.clip is not None:
            with torch.no_grad():
                for weight in self.discriminator.parameters():
                    weight.clamp_(-self.clip, self.clip)

        # Phase 2: the generator, with new codes, through the frozen critic.
        if self.updates_generator():
            x_fake = self.generate(self.sample_prior(x))
            with frozen(self.discriminator):
                self.generator_step(self.g_loss(self.discriminator(self.augment(x_fake))))
        return terms

    def critic_losses(self, x: Tensor) -> dict[str, Tensor]:
        """Loss of the critic on images x in [-1, 1] and on new generated images, and its terms."""
        with torch.no_grad():
            x_fake = self.augment(self.generate(self.sample_prior(x)))
        x_real = self.augment_real(x)
        real, fake = self.discriminator(x_real), self.discriminator(x_fake)
        loss = self.d_loss(real, fake) + self.r1_penalty(real, x_real)
        terms = {"wasserstein_estimate": real.mean() - fake.mean()}
        if self.clip is None:
            penalty = gradient_penalty(self.discriminator, x_real, x_fake)
            loss = loss + self.gp_weight * penalty
            terms["gradient_penalty"] = penalty
        return {"loss": loss, **terms}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        fake = self.fake_logits(self.sample_prior(batch[0]))
        return {"wasserstein_estimate": self.real_logits(*batch).mean() - fake.mean()}
