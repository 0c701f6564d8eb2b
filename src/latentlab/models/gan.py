"""GAN: a forger and a detective, both fully connected, learn from each other.

    V(D, G) = E log D(x) + E log(1 − D(G(z))),   z ~ prior
    D climbs V; G descends V (minimax), or a loss with the same end and better gradients

Goodfellow et al. 2014, "Generative adversarial nets", algorithm 1: `d_steps` batches for D, each
with fresh codes, then one step of G, again with fresh codes. G's three losses by name: minimax,
non_saturating, maximum_likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import adam_each, batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import players
from latentlab.nets.flat import FlatDiscriminator, FlatGenerator


class GAN(LightningModule):
    """`hidden`: widths of the generator, mirrored in the discriminator; `prior` draws z.

    Images are scaled to [−1, 1] inside. D learns at every batch, G at every `d_steps`-th; `lr` is
    Adam's for both, falling linearly to 0, `d_lr` D's own if it has one.
    """

    family = "GAN"
    border = 0.0  # the logit at which D is undecided

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 64,
        hidden: Sequence[int] = (256, 512),
        loss: Literal["minimax", "non_saturating", "maximum_likelihood"] = "non_saturating",
        d_steps: int = 1,
        lr: float = 2e-4,
        d_lr: float | None = None,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if d_steps < 1:
            raise ValueError(f"d_steps is {d_steps}: D needs at least 1 step for each of G's")
        self.automatic_optimization = False
        self.latent_dim, self.d_steps = latent_dim, d_steps
        self.rates = (lr, lr if d_lr is None else d_lr)
        self.prior = prior
        self.cures = cures = cures or Cures()
        self.d_loss, self.g_loss = players(loss, **cures.labels)
        self.generator = FlatGenerator(image_shape, latent_dim=latent_dim, hidden=hidden)
        self.discriminator = FlatDiscriminator(cures.packed(image_shape), hidden=[*hidden][::-1])
        cures.equip(self.discriminator)

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's last hidden layer."""
        return self.discriminator.trunk((2 * x - 1).repeat(1, self.cures.packing, 1, 1))

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
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        schedule_g, schedule_d = self.lr_schedulers()  # type: ignore[misc]
        terms = self.step_discriminator(batch[0], opt_d)
        schedule_d.step()
        if (batch_number(self) + 1) % self.d_steps == 0:
            self.step_generator(batch[0], opt_g)
            schedule_g.step()
        return terms

    def step_discriminator(self, x: Tensor, opt_d: Any) -> dict[str, Tensor]:
        done = progress(self)
        with torch.no_grad():
            x_fake = self.generate(self.sample_prior(x))
        seen = self.cures.view(2 * x - 1, done).requires_grad_(self.cures.r1 > 0)
        real_logits = self.discriminator(seen)
        fake_logits = self.discriminator(self.cures.view(x_fake, done))
        d_loss = self.d_loss(real_logits, fake_logits)
        turn(self, opt_d, d_loss + self.cures.penalty(real_logits, seen, batch_number(self)))
        g_loss = self.g_loss(fake_logits.detach())
        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **told_apart(real_logits, fake_logits),
        }

    def step_generator(self, x: Tensor, opt_g: Any) -> None:
        x_fake = self.generate(self.sample_prior(x))
        with still(self.discriminator):
            seen = self.cures.view(x_fake, progress(self))
            turn(self, opt_g, self.g_loss(self.discriminator(seen)))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells held-out images from fakes: 0.5 and 0.5 where it cannot."""
        fake_logits = self.score_fake(self.sample_prior(batch[0]))
        return told_apart(self.score_real(*batch), fake_logits)

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_each(
            (self.generator.parameters(), self.rates[0]),
            (self.discriminator.parameters(), self.rates[1]),
            steps=(max(1, steps // self.d_steps), steps),
        )
