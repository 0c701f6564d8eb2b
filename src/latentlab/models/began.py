"""BEGAN: the discriminator is an autoencoder, and its reconstruction error separates the images.

    L(x) = |x − D(x)| per pixel      min_D  L(x) − k L(G(z))      min_G  L(G(z))
    k ← k + λ_k (γ L(x) − L(G(z))), within [0, 1]      M = L(x) + |γ L(x) − L(G(z))|

The weight k keeps both errors at E L(G(z)) = γ E L(x). A large γ gives more varied images, a small
γ less varied images of higher quality. The measure M falls as the training converges.

Differs from the paper: both steps of a batch use the same generated images, as in dcgan.
Differs from the paper: all networks have batch normalization. Without it, D returned black, the
median, for every digit.
Differs from the paper: λ_k is 0.01 by default (paper: 0.001), so k moves ten times as fast. FID
values of this model say little of the paper's.

Paper: Berthelot et al. 2017, "BEGAN: boundary equilibrium generative adversarial networks",
arXiv:1703.10717, section 3.4.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.networks.batch_norm import batch_statistics
from latentlab.networks.conv import Generator, PyramidEncoder, init_dcgan
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    frozen,
)

UNSUPPORTED = {
    "spectral_norm": "its discriminator has batch normalization",
    "r1_gamma": "its discriminator has batch normalization",
    "real_label": "its discriminator has no labels",
    "fake_label": "its discriminator has no labels",
    "minibatch_stddev": "its discriminator returns images and has no last linear layer",
}
OPTIM = AdversarialOptim(generator_lr=5e-4, discriminator_lr=5e-4, linear_decay=True)


class BEGAN(AdversarialSteps, LightningModule):
    """The discriminator is an encoder and a decoder; the decoder has the layout of the generator.

    `width`: channels after the first halving of the image, doubled at each further halving.
    `latent_dim`: length of z and of the discriminator's own code. All networks have batch
    normalization, unlike in the paper. Without it, D returned black, the median, for every digit.
    """

    family = "GAN"
    k: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 32,
        width: int = 16,
        gamma: float = 0.75,
        lambda_k: float = 1e-2,
        optim: AdversarialOptim = OPTIM,
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        if not 0 < gamma <= 1 or not lambda_k > 0:
            raise ValueError(
                f"gamma is {gamma} and lambda_k {lambda_k}: gamma must be in (0, 1], and lambda_k"
                " must be > 0"
            )
        regularization.require_supported(UNSUPPORTED, model="BEGAN")
        self.setup_training(
            prior, latent_dim=latent_dim, loss=None, optim=optim, regularization=regularization
        )
        self.gamma, self.lambda_k = gamma, lambda_k
        input_shape = regularization.packed_shape(image_shape)
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = nn.Sequential(
            PyramidEncoder(input_shape, outputs=latent_dim, width=width),
            Generator(input_shape, latent_dim=latent_dim, width=width),
        )
        self.apply(init_dcgan)
        self.register_buffer("k", torch.zeros(()))

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z).sigmoid()  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's own code; `decode` cannot read it."""
        return self.discriminator[0](self.regularization.repeat(x))

    def errors(self, x: Tensor) -> Tensor:
        """L(x) (B,): mean over pixels of |x − D(x)|, images in [0, 1]."""
        return (x - self.discriminator(x).sigmoid()).abs().mean((1, 2, 3))

    def batch_logits(self, x: Tensor) -> Tensor:
        """−L(x) of packs of images that are normalized by their own batch, as in training."""
        packs = self.regularization.pack(x)
        with batch_statistics(self.discriminator, len(packs)):
            return -self.errors(packs)

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        """−L(x), in the place of a logit; one for each pack."""
        return self.batch_logits(x)

    def fake_logits(self, z: Tensor) -> Tensor:
        """−L(G(z)), in the place of a logit; one for each pack."""
        return self.batch_logits(self.decode(z))

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        real_error, fake_error = -self.real_logits(x, y).mean(), -self.fake_logits(z).mean()
        return real_error - self.k * fake_error, fake_error

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]
        x_fake = self.decode(self.sample_prior(x))

        # Phase 1: the discriminator.
        real_error = self.errors(self.augment_unit(x)).mean()
        fake_error = self.errors(self.augment_unit(x_fake.detach())).mean()
        self.discriminator_step(real_error - self.k * fake_error)

        # Phase 2: the generator, through the frozen discriminator.
        with frozen(self.discriminator):
            g_loss = self.errors(self.augment_unit(x_fake)).mean()
            self.generator_step(g_loss)

        balance = self.update_k(real_error.detach(), g_loss.detach())
        return {
            "loss": real_error + g_loss,
            "real_recon_l1": real_error,
            "g_loss": g_loss,
            "began_k": self.k.clone(),
            "began_convergence": real_error + balance.abs(),
        }

    def update_k(self, real_error: Tensor, fake_error: Tensor) -> Tensor:
        """Update k, equally in all processes, and return γ L(x) − L(G(z))."""
        balance = self.gamma * real_error - fake_error
        balance = self.trainer.strategy.reduce(balance, reduce_op="mean")
        self.k.add_(self.lambda_k * balance).clamp_(0, 1)
        return balance

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        real_error = -self.real_logits(*batch).mean()
        fake_error = -self.fake_logits(self.sample_prior(batch[0])).mean()
        return {
            "real_recon_l1": real_error,
            "fake_recon_l1": fake_error,
            "began_convergence": real_error + (self.gamma * real_error - fake_error).abs(),
        }

    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, self.generator.parameters())
