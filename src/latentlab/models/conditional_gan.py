"""Conditional GAN: generator and discriminator get the class, so classes can be requested.

    min_G max_D  E_{x,y} log D(x, y) + E_{eps,y} log(1 − D(G(eps, y), y)),   eps ~ prior, y ~ data

A code is the noise eps followed by the class y as a one-hot vector. The discriminator has one logit
for each class, and y selects one of them. The networks are those of DCGAN, and the generator's loss
is the non-saturating one.

Differs from the paper: both steps of a batch use the same generated images, as in dcgan.
Differs from the paper: D has one logit for each class, and y selects one (Mescheder et al. 2018).
The projection of Miyato & Koyama is yᵀVφ(x) + ψ(φ(x)); without ψ, the last layer shares nothing
between classes.

Paper: Mirza & Osindero 2014, "Conditional generative adversarial nets", arXiv:1411.1784, eq. 2.
Paper: Miyato & Koyama 2018, "cGANs with projection discriminator", arXiv:1802.05637.
Paper: Mescheder et al. 2018, "Which training methods for GANs do actually converge?",
arXiv:1801.04406 (a logit for each class).
Paper: Radford et al. 2016, "Unsupervised representation learning with deep convolutional GANs",
arXiv:1511.06434.
"""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.networks.batch_norm import batch_statistics
from latentlab.networks.conv import Discriminator, Generator, init_dcgan
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    frozen,
)
from latentlab.samplers import ClassConditional, with_class

UNSUPPORTED = {"packing": "its discriminator gets one image and its class"}


class ConditionalGAN(AdversarialSteps, LightningModule):
    """`latent_dim` is `noise_dim` + `num_classes`; `prior` samples noise and classes.

    `width`: channels after the first halving of the image, doubled at each further halving.
    `hidden`: width of the discriminator's last hidden layer. Images are in [-1, 1] inside.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        num_classes: int,
        noise_dim: int = 64,
        width: int = 32,
        hidden: int = 256,
        optim: AdversarialOptim = AdversarialOptim(linear_decay=True),
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        check_classes(prior, num_classes)
        regularization.require_supported(UNSUPPORTED, model="a conditional GAN")
        latent_dim, batch_norm = noise_dim + num_classes, regularization.batch_norm
        self.setup_training(
            prior, latent_dim=latent_dim, optim=optim, regularization=regularization
        )
        self.num_classes = num_classes
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.discriminator = Discriminator(image_shape, width=width, batch_norm=batch_norm)
        self.discriminator.head = nn.Sequential(
            nn.Linear(self.discriminator.head.in_features, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, num_classes),
        )
        self.apply(init_dcgan)
        regularization.apply_to(self.discriminator)

    def condition(self, z: Tensor, y: Tensor) -> Tensor:
        """Codes (B, D) with their class replaced by y (B,), int64."""
        return with_class(z, y, self.num_classes)

    def sample_codes(self, x: Tensor, y: Tensor) -> Tensor:
        """Noise from the prior with the classes of the batch: y alone does not separate x, x̃."""
        return self.condition(self.sample_prior(x), y)

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator.features(2 * x - 1)

    def class_logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits (B,) of images in [-1, 1] with classes y (B,)."""
        return self.discriminator(x).gather(1, y[:, None]).squeeze(1)

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        with batch_statistics(self.discriminator, len(x)):
            return self.class_logits(2 * x - 1, y)

    def fake_logits(self, z: Tensor) -> Tensor:
        x_fake = self.generate(z)
        with batch_statistics(self.discriminator, len(z)):
            return self.class_logits(x_fake, z[:, -self.num_classes :].argmax(1))

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        fake = self.fake_logits(z)
        return self.d_loss(self.real_logits(x, y), fake), self.g_loss(fake)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = 2 * batch[0] - 1, batch[1]
        x_fake = self.generate(self.sample_codes(x, y))

        # Phase 1: the discriminator.
        x_real = self.augment_real(x)
        real = self.class_logits(x_real, y)
        fake = self.class_logits(self.augment(x_fake.detach()), y)
        d_loss = self.d_loss(real, fake)
        self.discriminator_step(d_loss + self.r1_penalty(real, x_real))

        # Phase 2: the generator, through the frozen discriminator.
        with frozen(self.discriminator):
            g_loss = self.g_loss(self.class_logits(self.augment(x_fake), y))
            self.generator_step(g_loss)

        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **self.probabilities(real, fake),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        fake = self.fake_logits(self.sample_codes(*batch))
        return self.probabilities(self.real_logits(*batch), fake)

    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, self.generator.parameters())


def check_classes(prior: LatentSampler, num_classes: int) -> None:
    """Tell the prior the number of classes. Raise ValueError for a wrong prior or < 2 classes."""
    if num_classes < 2:
        raise ValueError(
            f"the data have {num_classes} classes, but a conditional GAN needs labels of 2 classes"
            " or more: choose dcgan, or data with labels"
        )
    if not isinstance(prior, ClassConditional):
        raise ValueError(
            f"the sampler is {type(prior).__name__}, which samples no classes: set the sampler's"
            " class_path to latentlab.samplers.ClassConditional"
        )
    prior.num_classes = num_classes
