"""Conditional GAN: both players are told the class, so one can ask for it.

    min_G max_D  E_{x,y} log D(x, y) + E_{ε,y} log(1 − D(G(ε, y), y)),   ε ~ prior, y ~ data

Mirza & Osindero 2014, "Conditional generative adversarial nets", eq. 2, on the networks of DCGAN
(Radford et al. 2016). A code is the noise ε followed by y as a one-hot row, so whatever draws,
decodes or searches codes works as for any other model. D has one logit for each class and y picks
one: the projection of Miyato & Koyama 2018, "cGANs with projection discriminator". The generator's
loss is the non-saturating one.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import adam_each, advance, batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import players
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.priors import Conditional, with_class

NO_CURE = {"packing": "D is asked about one image and its class"}


class ConditionalGAN(LightningModule):
    """`noise_dim` numbers of noise; the code has `num_classes` K more, which `prior` draws too.

    `width`: channels of the widest map, doubled at each halving; `hidden`: width of the layer
    below D's heads; `lr`: Adam's rates of G and D, with `lr_decay` falling linearly to 0; `beta1`:
    Adam's.
    """

    family = "GAN"
    border = 0.0  # the logit at which D is undecided

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        num_classes: int,
        noise_dim: int = 64,
        width: int = 32,
        hidden: int = 256,
        lr: tuple[float, float] = (2e-4, 2e-4),
        beta1: float = 0.5,
        lr_decay: bool = True,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"a conditional GAN needs labels of two classes or more, and the data have"
                f" {num_classes}: take dcgan, or data with labels"
            )
        if not isinstance(prior, Conditional):
            raise ValueError(
                f"the sampler is {type(prior).__name__}, which draws no classes: name"
                " latentlab.priors.Conditional as the sampler's class_path"
            )
        self.automatic_optimization = False
        prior.num_classes = num_classes
        self.prior, self.num_classes, self.latent_dim = prior, num_classes, noise_dim + num_classes
        self.lr, self.beta1, self.lr_decay = lr, beta1, lr_decay
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="a conditional GAN")
        self.d_loss, self.g_loss = players("non_saturating", **cures.labels)
        self.generator = Generator(image_shape, latent_dim=self.latent_dim, width=width)
        self.discriminator = Discriminator(image_shape, width=width, batch_norm=cures.batch_norm)
        self.discriminator.head = nn.Sequential(  # a logit for each class
            nn.Linear(self.discriminator.head.in_features, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, num_classes),
        )
        self.apply(init_dcgan)
        cures.equip(self.discriminator)

    def condition(self, z: Tensor, y: Tensor) -> Tensor:
        """Codes (B, D) with their class replaced by y (B,), int64."""
        return with_class(z, y, self.num_classes)

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """D's last maps, which know no class, max-pooled to 4×4 (Radford 2016, section 5.1)."""
        return F.adaptive_max_pool2d(self.discriminator.trunk(2 * x - 1), 4).flatten(1)

    def discriminate(self, x: Tensor, y: Tensor) -> Tensor:
        """Images in [−1, 1] and their classes (B,) → logits (B,)."""
        return self.discriminator(x).gather(1, y[:, None]).squeeze(1)

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """D's logits of images (B, C, H, W) in [0, 1] of classes (B,), above `border` for real."""
        return self.discriminate(2 * x - 1, y)

    def score_fake(self, z: Tensor) -> Tensor:
        """D's logits of the images made of codes (B, D), asked about the codes' classes."""
        return self.discriminate(self.generate(z), z[:, -self.num_classes :].argmax(1))

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What D and G minimise of images x in [0, 1] and codes z, without any cure's noise."""
        fake_logits = self.score_fake(z)
        return self.d_loss(self.score_real(x, y), fake_logits), self.g_loss(fake_logits)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = 2 * batch[0] - 1, batch[1]
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = self.generate(self.sample_prior(x, y))
        done = progress(self)

        seen = self.cures.view(x, done).requires_grad_(self.cures.r1 > 0)
        real_logits = self.discriminate(seen, y)
        fake_logits = self.discriminate(self.cures.view(x_fake.detach(), done), y)
        d_loss = self.d_loss(real_logits, fake_logits)
        turn(self, opt_d, d_loss + self.cures.penalty(real_logits, seen, batch_number(self)))

        with still(self.discriminator):
            g_loss = self.g_loss(self.discriminate(self.cures.view(x_fake, done), y))
            turn(self, opt_g, g_loss)
        advance(self)
        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **told_apart(real_logits, fake_logits),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells held-out images from fakes of the same classes: 0.5 where it cannot."""
        return told_apart(self.score_real(*batch), self.score_fake(self.sample_prior(*batch)))

    def sample_prior(self, like: Tensor, y: Tensor) -> Tensor:
        """Noise from the prior, the batch's own classes: y alone then tells D nothing."""
        z = self.prior.sample((len(like), self.latent_dim)).to(like.device)
        return self.condition(z, y)

    def configure_optimizers(self) -> Any:
        return adam_each(
            (self.generator.parameters(), self.lr[0]),
            (self.discriminator.parameters(), self.lr[1]),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches) if self.lr_decay else None,
        )
