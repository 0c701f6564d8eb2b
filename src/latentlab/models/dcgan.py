"""DCGAN: a generator and a discriminator, both convolutional, play a game that has data as its end.

    min_G max_D  E log D(x) + E log(1 − D(G(z))),   z ~ prior

Goodfellow et al. 2014, "Generative adversarial nets", eq. 1, and Radford et al. 2016,
"Unsupervised representation learning with deep convolutional GANs" for the two networks. The
generator follows one of Goodfellow's three losses, by name: minimax, non_saturating,
maximum_likelihood. Each batch: one step of D, then one of G, on the same fakes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.losses.adversarial import GENERATOR_LOSSES, discriminator_loss
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.optimizers import adam, linear_decay


class DCGAN(LightningModule):
    """`width`: channels of the widest map, doubled at each halving; `prior` draws z.

    Images are scaled to [−1, 1] inside; `lr` and `beta1` are Adam's for both players, with
    `lr_decay` falling linearly to 0.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 100,
        width: int = 64,
        generator_loss: Literal["minimax", "non_saturating", "maximum_likelihood"] = (
            "non_saturating"
        ),
        lr: float = 2e-4,
        beta1: float = 0.5,
        lr_decay: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latent_dim, self.lr, self.beta1 = latent_dim, lr, beta1
        self.lr_decay = lr_decay
        self.prior = prior
        self.generator_loss = GENERATOR_LOSSES[generator_loss]
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = Discriminator(image_shape, width=width)
        self.apply(init_dcgan)

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's last maps, max-pooled to 4×4 (Radford et al. 2016, section 5.1)."""
        return F.adaptive_max_pool2d(self.discriminator.trunk(2 * x - 1), 4).flatten(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = self.generate(self.sample_prior(x))

        real_logits = self.discriminator(x)
        fake_logits = self.discriminator(x_fake.detach())
        d_loss = discriminator_loss(real_logits, fake_logits)
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        opt_d.step()

        self.discriminator.requires_grad_(False)  # G's step needs no gradient of D's weights
        g_loss = self.generator_loss(self.discriminator(x_fake))
        opt_g.zero_grad()
        self.manual_backward(g_loss)
        opt_g.step()
        self.discriminator.requires_grad_(True)
        for schedule in self.trainer.lr_scheduler_configs:
            schedule.scheduler.step()  # type: ignore[call-arg]
        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            "d_real": real_logits.sigmoid().mean(),
            "d_fake": fake_logits.sigmoid().mean(),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells held-out images from fakes: 0.5 and 0.5 where it cannot."""
        x = 2 * batch[0] - 1
        real_logits = self.discriminator(x)
        fake_logits = self.discriminator(self.generate(self.sample_prior(x)))
        return {"d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        players = [
            adam(network.parameters(), self.lr, betas=(self.beta1, 0.999))
            for network in (self.generator, self.discriminator)
        ]
        steps = int(self.trainer.estimated_stepping_batches)
        return players, [linear_decay(o, steps) for o in players] if self.lr_decay else []
