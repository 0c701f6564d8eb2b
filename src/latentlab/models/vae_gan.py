"""VAE-GAN: images are compared by what a discriminator sees in them, not pixel by pixel.

    encoder   KL(q(z|x) ‖ N(0, I)) + E_q ½ ‖D_l(x) − D_l(x̂)‖²              x̂ = g(z)
    decoder   E_q ½ ‖D_l(x) − D_l(x̂)‖² − λ/2 · E[log D(x̂) + log D(g(z_p))],   z_p ~ N(0, I)
    D         −E[log D(x) + ½ log(1 − D(x̂)) + ½ log(1 − D(g(z_p)))]

D_l is the discriminator's last layer but one, here normalised over its units, which gives likeness
a scale. Both kinds of fakes are averaged where the paper adds them: λ is 2/γ of the paper, and to D
images count as much as all fakes, not half. Each batch: one step of D, then one of encoder and
decoder together (the encoder does not see the game).

Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric", eqs. 3–9 and
algorithm 1, with the non-saturating loss in the decoder's part of the game.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.games import adam_each, advance, still, told_apart, turn
from latentlab.losses.adversarial import discriminator_loss, non_saturating
from latentlab.losses.divergences import kl_standard_normal
from latentlab.losses.likelihoods import squared_error
from latentlab.losses.variational import reparameterize
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.nets.pyramids import PyramidEncoder


class VAEGAN(LightningModule):
    """`width`: channels of the widest map of each network, doubled at each halving of its side.

    `game_weight` is λ, what the game counts for the decoder against likeness to the image; `lr` is
    Adam's for all, falling linearly to 0.
    """

    family = "VAE"
    codes_are_normal = True  # the prior is N(0, I)

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        width: int = 32,
        game_weight: float = 30.0,
        lr: float = 5e-4,
        beta1: float = 0.5,
    ) -> None:
        super().__init__()
        if game_weight < 0:
            raise ValueError(f"game_weight is {game_weight}: it weighs the game and must be ≥ 0")
        self.automatic_optimization = False
        self.latent_dim, self.game_weight = latent_dim, game_weight
        self.lr, self.beta1 = lr, beta1
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

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        opt_vae, opt_d = self.optimizers()  # type: ignore[attr-defined]
        mu, logvar = self.posterior(x)
        z = reparameterize(mu, logvar)
        x_hat = self.decode(z)
        x_fake = self.decode(torch.cat([z.detach(), torch.randn_like(z)]))

        d_loss, d_terms = self.judge(x, x_fake.detach())
        turn(self, opt_d, d_loss)

        with still(self.discriminator):
            kl_nats = kl_standard_normal(mu, logvar).mean()
            likeness = self.likeness(x_hat, x).mean()
            g_loss = non_saturating(self.discriminator(x_fake))
            loss = kl_nats + likeness + self.game_weight * g_loss
            turn(self, opt_vae, loss)
        advance(self)
        terms = {"loss": loss, "kl_nats": kl_nats, "likeness": likeness, "g_loss": g_loss}
        return {**terms, **d_terms}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """KL, likeness, and how D tells held-out images from fakes."""
        x, _ = batch
        mu, logvar = self.posterior(x)
        z = reparameterize(mu, logvar)
        x_fake = self.decode(torch.cat([z, torch.randn_like(z)]))
        return {
            "kl_nats": kl_standard_normal(mu, logvar).mean(),
            "likeness": self.likeness(x_fake[: len(x)], x).mean(),
            **self.judge(x, x_fake)[1],
        }

    def likeness(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """½ ‖D_l(x) − D_l(x̂)‖², summed over the layer's units, (B,): −log N up to a constant."""
        with torch.no_grad():
            seen = self.see(x)
        return 0.5 * squared_error(self.see(x_hat), seen)

    def see(self, x: Tensor) -> Tensor:
        """D_l, with mean 0 and variance 1 over each image's units, (B, units)."""
        units = self.discriminator.trunk(x).flatten(1)
        return F.layer_norm(units, units.shape[1:])

    def judge(self, x: Tensor, x_fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """D's loss on images and fakes, and what it reports."""
        real_logits, fake_logits = self.discriminator(x), self.discriminator(x_fake)
        d_loss = discriminator_loss(real_logits, fake_logits)
        return d_loss, {"d_loss": d_loss, **told_apart(real_logits, fake_logits)}

    def configure_optimizers(self) -> Any:
        return adam_each(
            ([*self.encoder.parameters(), *self.generator.parameters()], self.lr),
            (self.discriminator.parameters(), self.lr),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches),
        )
