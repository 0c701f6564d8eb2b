"""DCGAN: a generator and a discriminator, both convolutional, play a game that has data as its end.

    min_G max_D  E log D(x) + E log(1 − D(G(z))),   z ~ prior

Goodfellow et al. 2014, "Generative adversarial nets", eq. 1, and Radford et al. 2016,
"Unsupervised representation learning with deep convolutional GANs" for the two networks. Other
games by name: Goodfellow's three generator losses, least squares (Mao et al. 2017) and hinge
(Miyato et al. 2018). Each batch: one step of D, then one of G, on the same fakes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import adam_each, advance, batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import BORDERS, players
from latentlab.nets.conv import Discriminator, Generator, init_dcgan

Loss = Literal["minimax", "non_saturating", "maximum_likelihood", "least_squares", "hinge"]


class DCGAN(LightningModule):
    """`width`: channels of the widest map, doubled at each halving; `prior` draws z.

    Images are scaled to [−1, 1] inside; `lr` and `beta1` are Adam's for both players, `d_lr` is
    D's own rate if it has one; `lr_decay`: both fall linearly to 0.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 100,
        width: int = 64,
        loss: Loss = "non_saturating",
        lr: float = 2e-4,
        d_lr: float | None = None,
        beta1: float = 0.5,
        lr_decay: bool = False,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latent_dim, self.beta1, self.lr_decay = latent_dim, beta1, lr_decay
        self.rates = (lr, lr if d_lr is None else d_lr)
        self.prior = prior
        self.cures = cures = cures or Cures()
        self.d_loss, self.g_loss = players(loss, **cures.labels)
        self.border = BORDERS.get(loss, 0.0)
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = Discriminator(
            cures.packed(image_shape), width=width, batch_norm=cures.batch_norm
        )
        self.apply(init_dcgan)
        cures.equip(self.discriminator)

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's last maps, max-pooled to 4×4 (Radford et al. 2016, section 5.1)."""
        alike = (2 * x - 1).repeat(1, self.cures.packing, 1, 1)
        return F.adaptive_max_pool2d(self.discriminator.trunk(alike), 4).flatten(1)

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """D's logits of images (B, C, H, W) in [0, 1], above `border` for real; one a pack."""
        return self.discriminator(self.cures.pack(2 * x - 1))

    def score_fake(self, z: Tensor) -> Tensor:
        """D's logits of the images made of codes (B, D); one a pack."""
        return self.discriminator(self.cures.pack(self.generate(z)))

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What D and G minimise of images x in [0, 1] and codes z, without any cure's noise."""
        fake_logits = self.score_fake(z)
        return self.d_loss(self.score_real(x, y), fake_logits), self.g_loss(fake_logits)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = self.generate(self.sample_prior(x))
        done = progress(self)

        seen = self.cures.view(x, done).requires_grad_(self.cures.r1 > 0)
        real_logits = self.discriminator(seen)
        fake_logits = self.discriminator(self.cures.view(x_fake.detach(), done))
        d_loss = self.d_loss(real_logits, fake_logits)
        turn(self, opt_d, d_loss + self.cures.penalty(real_logits, seen, batch_number(self)))

        with still(self.discriminator):
            g_loss = self.g_loss(self.discriminator(self.cures.view(x_fake, done)))
            turn(self, opt_g, g_loss)
        advance(self)
        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **told_apart(real_logits, fake_logits),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells held-out images from fakes: 0.5 and 0.5 where it cannot."""
        fake_logits = self.score_fake(self.sample_prior(batch[0]))
        return told_apart(self.score_real(*batch), fake_logits)

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        return adam_each(
            (self.generator.parameters(), self.rates[0]),
            (self.discriminator.parameters(), self.rates[1]),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches) if self.lr_decay else None,
        )
