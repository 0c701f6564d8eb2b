"""Wasserstein GAN: a critic whose slope is bounded says how far the fakes are from the data.

    min_G max_D  E D(x) − E D(G(z)),   D 1-Lipschitz (or K-Lipschitz, by clipped weights)
    with gradient penalty, D minimises  E D(G(z)) − E D(x) + gp_weight · E(‖∇D(x̂)‖ − 1)²

Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1 (weights clipped to ±clip), and Gulrajani et
al. 2017, "Improved training of Wasserstein GANs", algorithm 1 (the penalty, with clip: null). The
critic learns at every batch, the generator at every n_critic-th.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import adam_each, batch_number, progress, still, turn
from latentlab.losses.adversarial import gradient_penalty, wasserstein, wasserstein_critic
from latentlab.nets.conv import Discriminator, Generator, init_dcgan

NO_CURE = {"real_label": "a critic has no labels", "fake_label": "a critic has no labels"}


class WGAN(LightningModule):
    """DCGAN's networks; with the penalty, the critic has no batch normalisation.

    `clip`: weights of the critic stay in [−clip, clip]; None penalises its slope by `gp_weight`
    instead. `lr`: Adam's for both players, falling linearly to 0; `d_lr` the critic's own.
    """

    family = "GAN"
    border = None  # a critic's scores are known up to a constant only

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 100,
        width: int = 32,
        n_critic: int = 5,
        clip: float | None = None,
        gp_weight: float = 10.0,
        lr: float = 1e-4,
        d_lr: float | None = None,
        betas: tuple[float, float] = (0.0, 0.9),
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if n_critic < 1:
            raise ValueError(
                f"n_critic is {n_critic}: the critic needs at least 1 step for each of G's"
            )
        if clip is not None and clip <= 0:
            raise ValueError(f"clip is {clip}: it must be > 0, or null for the gradient penalty")
        if gp_weight < 0:
            raise ValueError(f"gp_weight is {gp_weight}: it must be ≥ 0")
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="WGAN")
        self.automatic_optimization = False
        self.latent_dim, self.n_critic, self.betas = latent_dim, n_critic, betas
        self.clip, self.gp_weight = clip, gp_weight
        self.rates = (lr, lr if d_lr is None else d_lr)
        self.prior = prior
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = Discriminator(
            cures.packed(image_shape),
            width=width,
            batch_norm=cures.batch_norm and clip is not None,
        )
        self.apply(init_dcgan)
        cures.equip(self.discriminator)

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the critic sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """The critic's last maps, max-pooled to 4×4, as DCGAN's."""
        alike = (2 * x - 1).repeat(1, self.cures.packing, 1, 1)
        return F.adaptive_max_pool2d(self.discriminator.trunk(alike), 4).flatten(1)

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """The critic's scores of images (B, C, H, W) in [0, 1], higher for real; one a pack."""
        return self.discriminator(self.cures.pack(2 * x - 1))

    def score_fake(self, z: Tensor) -> Tensor:
        """The critic's scores of the images made of codes (B, D); one a pack."""
        return self.discriminator(self.cures.pack(self.generate(z)))

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What the players minimise of images x in [0, 1] and codes z, the penalty aside."""
        fake_scores = self.score_fake(z)
        return wasserstein_critic(self.score_real(x, y), fake_scores), wasserstein(fake_scores)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        schedule_g, schedule_d = self.lr_schedulers()  # type: ignore[misc]
        terms = self.step_critic(batch[0], opt_d)
        schedule_d.step()
        if (batch_number(self) + 1) % self.n_critic == 0:
            self.step_generator(batch[0], opt_g)
            schedule_g.step()
        return terms

    def step_critic(self, x: Tensor, opt_d: Any) -> dict[str, Tensor]:
        done = progress(self)
        with torch.no_grad():
            x_fake = self.cures.view(self.generate(self.sample_prior(x)), done)
        seen = self.cures.view(2 * x - 1, done).requires_grad_(self.cures.r1 > 0)
        real_scores, fake_scores = self.discriminator(seen), self.discriminator(x_fake)
        loss = wasserstein_critic(real_scores, fake_scores)
        loss = loss + self.cures.penalty(real_scores, seen, batch_number(self))
        terms = {"wasserstein": real_scores.mean() - fake_scores.mean()}
        if self.clip is None:
            terms["penalty"] = gradient_penalty(self.discriminator, seen, x_fake)
            loss = loss + self.gp_weight * terms["penalty"]
        turn(self, opt_d, loss)
        if self.clip is not None:
            with torch.no_grad():
                for weight in self.discriminator.parameters():
                    weight.clamp_(-self.clip, self.clip)
        return {"loss": loss, **terms}

    def step_generator(self, x: Tensor, opt_g: Any) -> None:
        x_fake = self.generate(self.sample_prior(x))
        with still(self.discriminator):
            seen = self.cures.view(x_fake, progress(self))
            turn(self, opt_g, wasserstein(self.discriminator(seen)))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The same estimate on held-out images: the two part where the critic overfits."""
        fake_scores = self.score_fake(self.sample_prior(batch[0]))
        return {"wasserstein": self.score_real(*batch).mean() - fake_scores.mean()}

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_each(
            (self.generator.parameters(), self.rates[0]),
            (self.discriminator.parameters(), self.rates[1]),
            betas=self.betas,
            steps=(max(1, steps // self.n_critic), steps),
        )
