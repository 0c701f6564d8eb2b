"""BEGAN: the discriminator is an autoencoder, and fakes must be as easy to rebuild as images.

    L(x) = |x − D(x)| per pixel      min_D  L(x) − k L(G(z))      min_G  L(G(z))
    k ← k + λ (γ L(x) − L(G(z))), within [0, 1]      M = L(x) + |γ L(x) − L(G(z))|

Berthelot et al. 2017, "BEGAN: boundary equilibrium generative adversarial networks", section 3.4.
k keeps the two at E L(G(z)) = γ E L(x): γ near 1 asks for variety, near 0 for clean images. M falls
as training converges, which no other GAN's loss does.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import adam_each, advance, progress, still, turn
from latentlab.nets.conv import Generator, init_dcgan
from latentlab.nets.pyramids import PyramidEncoder

NO_CURE = {
    "spectral_norm": "its D normalises over the batch",
    "r1": "its D normalises over the batch",
    "real_label": "its D has no labels",
    "fake_label": "its D has no labels",
    "minibatch_std": "its D rebuilds images and has no last layer to add to",
}


class BEGAN(LightningModule):
    """Convolutional; D's two halves and G mirror each other, halving or doubling the image's side.

    `width`: channels of the widest map, doubled at each halving; `latent_dim`: the length of z and
    of D's own code; `gamma` is γ, `balance_rate` λ; `lr`: Adam's rate, falling linearly to 0;
    `beta1`: Adam's. All three have batch normalisation, which the paper's have not: without it, D
    answered every digit by black, its median pixel, and G had nothing to learn from.
    """

    family = "GAN"
    border = None  # the errors of images and of fakes lie where γ puts them
    balance: Tensor  # k

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 32,
        width: int = 16,
        gamma: float = 0.75,
        balance_rate: float = 1e-2,
        lr: float = 5e-4,
        beta1: float = 0.5,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if not 0 < gamma <= 1 or not balance_rate > 0:
            raise ValueError(
                f"gamma is {gamma} and balance_rate {balance_rate}: gamma must lie in (0, 1], the"
                " share of the images' error that the fakes may have, and balance_rate be > 0"
            )
        self.automatic_optimization = False
        self.prior, self.latent_dim = prior, latent_dim
        self.gamma, self.balance_rate, self.lr, self.beta1 = gamma, balance_rate, lr, beta1
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="BEGAN")
        seen, shape = cures.packed(image_shape), {"latent_dim": latent_dim, "width": width}
        self.generator = Generator(image_shape, **shape)
        self.discriminator = nn.Sequential(
            PyramidEncoder(seen, outputs=latent_dim, width=width), Generator(seen, **shape)
        )
        self.apply(init_dcgan)
        self.register_buffer("balance", torch.zeros(()))

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z).sigmoid()  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        """The code of the autoencoder inside D; it is not G's: decode cannot read it."""
        return self.discriminator[0](x.repeat(1, self.cures.packing, 1, 1))

    def errors(self, x: Tensor) -> Tensor:
        """L(x) of each image (B, C, H, W): mean over pixels of |x − D(x)|, in grey levels 0…1."""
        return (x - self.discriminator(x).sigmoid()).abs().mean((1, 2, 3))

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """−L(x) of images (B, C, H, W) in [0, 1], higher for real; one a pack."""
        return -self.errors(self.cures.pack(x))

    def score_fake(self, z: Tensor) -> Tensor:
        """−L of the images made of codes (B, D); one a pack."""
        return -self.errors(self.cures.pack(self.decode(z)))

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What D and G minimise of images x in [0, 1] and codes z, without any cure's noise."""
        real_error, fake_error = -self.score_real(x, y).mean(), -self.score_fake(z).mean()
        return real_error - self.balance * fake_error, fake_error

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = self.decode(self.sample_prior(x))
        done = progress(self)

        real_error = self.errors(self.cures.view_unit(x, done)).mean()
        fake_error = self.errors(self.cures.view_unit(x_fake.detach(), done)).mean()
        turn(self, opt_d, real_error - self.balance * fake_error)

        with still(self.discriminator):
            g_loss = self.errors(self.cures.view_unit(x_fake, done)).mean()
            turn(self, opt_g, g_loss)

        gap = self.gamma * real_error.detach() - g_loss.detach()
        gap = self.trainer.strategy.reduce(gap, reduce_op="mean")  # one k for all processes
        self.balance.add_(self.balance_rate * gap).clamp_(0, 1)
        advance(self)
        return {
            "loss": real_error + g_loss,
            "real_error": real_error,
            "g_loss": g_loss,
            "balance": self.balance.clone(),
            "convergence": real_error + gap.abs(),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """L of held-out images and of fakes, and the convergence measure M of the two."""
        real_error = -self.score_real(*batch).mean()
        fake_error = -self.score_fake(self.sample_prior(batch[0])).mean()
        return {
            "real_error": real_error,
            "fake_error": fake_error,
            "convergence": real_error + (self.gamma * real_error - fake_error).abs(),
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        return adam_each(
            (self.generator.parameters(), self.lr),
            (self.discriminator.parameters(), self.lr),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches),
        )
