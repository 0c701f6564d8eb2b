"""DCGAN: a convolutional generator and a convolutional discriminator are trained as a GAN.

    min_G max_D  E log D(x) + E log(1 − D(G(z))),   z ~ prior

Each batch has one step of the discriminator and one step of the generator, on the same generated
images. `loss` selects the objective: the three generator losses of Goodfellow et al., least squares
or hinge.

Differs from the paper: both steps of a batch use the same generated images, where algorithm 1 of
Goodfellow et al. draws new codes for the generator. This is cheaper, and the generator answers to
the step that the discriminator has just made on the same images.

Paper: Radford et al. 2016, "Unsupervised representation learning with deep convolutional GANs",
arXiv:1511.06434, section 3.
Paper: Odena et al. 2016, "Deconvolution and checkerboard artifacts" (`upsample: resize`).
Paper: Goodfellow et al. 2014, "Generative adversarial nets", arXiv:1406.2661, eq. 1.
Paper: Mao et al. 2017, "Least squares generative adversarial networks", arXiv:1611.04076, eq. 9.
Paper: Lim & Ye 2017, "Geometric GAN", arXiv:1705.02894 (hinge).
Paper: Tran et al. 2017, "Hierarchical implicit models and likelihood-free variational inference",
arXiv:1702.08896 (hinge).
Paper: Miyato et al. 2018, "Spectral normalization for GANs", arXiv:1802.05957, eqs. 16, 17 (hinge).
"""

from __future__ import annotations

from typing import Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.networks.conv import Discriminator, Generator, init_dcgan
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.networks.upsampling import Upsampling
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialTraining,
    frozen,
)

Loss = Literal["minimax", "non_saturating", "maximum_likelihood", "least_squares", "hinge"]


class DCGAN(AdversarialTraining, LightningModule):
    """`width`: channels after the first halving of the image, doubled at each further halving.

    `upsample`: how the generator doubles the sides; "resize" avoids checkerboards. `prior` samples
    the codes. Images are in [-1, 1] inside.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 100,
        width: int = 64,
        upsample: Upsampling = "transposed",
        loss: Loss = "non_saturating",
        optim: AdversarialOptim = AdversarialOptim(),
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        self.setup_training(
            prior, latent_dim=latent_dim, loss=loss, optim=optim, regularization=regularization
        )
        input_shape, batch_norm = (
            regularization.packed_shape(image_shape),
            regularization.batch_norm,
        )
        self.generator = Generator(
            image_shape, latent_dim=latent_dim, width=width, upsample=upsample
        )
        self.discriminator = Discriminator(input_shape, width=width, batch_norm=batch_norm)
        self.apply(init_dcgan)
        regularization.apply_to(self.discriminator)

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z).tanh()  # (B, C, H, W)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        x_fake = self.generate(self.sample_prior(x))

        # Phase 1: the discriminator.
        real, fake, r1_penalty = self.discriminate(x, x_fake.detach())
        d_loss = self.d_loss(real, fake)
        self.discriminator_step(d_loss + r1_penalty)

        # Phase 2: the generator, through the frozen discriminator.
        with frozen(self.discriminator):
            g_loss = self.g_loss(self.discriminator(self.augment(x_fake)))
            self.generator_step(g_loss)

        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **self.probabilities(real, fake),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.validation(*batch)
