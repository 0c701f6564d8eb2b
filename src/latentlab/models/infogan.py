"""InfoGAN: a GAN with latent codes that can be read back from the image, learned without labels.

    min_{G,Q} max_D  V(D, G) − λ_y L(y) − λ_c L(c),   L(c) = H(c) + E log Q(c|G(z)) ≤ I(c; G(z))

A code z = (eps, c, y) has noise eps, continuous codes c and one of K categories y. The network Q
reads c and y from a hidden layer of the discriminator.

A category need not be a class. Two options make this more likely. With a small `noise_scale`, the
category changes the image more than the noise does. With `affine_strength` > 0, Q gets an image
after a random affine map, so a category cannot be the slant, size or position of a digit.

Differs from the paper: both steps of a batch use the same generated images, as in dcgan.
Differs from the paper: Q(c|x) learns its standard deviation, within e^[−3, 1]. The authors' program
keeps it at 1.

Paper: Chen et al. 2016, "InfoGAN: interpretable representation learning by information maximizing
generative adversarial nets", arXiv:1606.03657, eqs. 4-6.
Paper: Hu et al. 2017, "Learning discrete representations via information maximizing self-augmented
training", arXiv:1702.08720, section 2.1 (invariance to affine maps, for a classifier).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.losses.variational import categorical_information, uniform_information
from latentlab.networks.batch_norm import batch_statistics
from latentlab.networks.conv import Discriminator, Generator, init_dcgan
from latentlab.networks.mlp import dense
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    frozen,
)
from latentlab.samplers import InfoGANPrior
from latentlab.transforms.augmentation import check_affine_strength, random_affine

UNSUPPORTED = {"packing": "Q reads the code of one image"}
LOGVAR_RANGE = (-6.0, 2.0)  # of Q(c|x); smaller variances would fit rounding errors
OPTIM = AdversarialOptim(generator_lr=1e-3, discriminator_lr=2e-4, linear_decay=True)


@dataclass(frozen=True)
class InfoGANCodes:
    """Parts of the code. `noise_scale` multiplies the noise before the generator."""

    num_categories: int = 10
    num_continuous: int = 2
    noise_dim: int = 62
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.num_categories < 2 or self.num_continuous < 0:
            raise ValueError(
                f"num_categories is {self.num_categories} and num_continuous"
                f" {self.num_continuous}: at least 2 categories and 0 continuous codes are allowed"
            )
        if self.noise_scale <= 0:
            raise ValueError(f"noise_scale is {self.noise_scale}: it must be > 0; 1 is no change")


@dataclass(frozen=True)
class InfoGANNetworks:
    """Sizes of the networks.

    `width`: channels after the first halving of the image, doubled at each further halving.
    `generator_hidden`: width of the generator's first dense layer. `shared_hidden`: width of the
    dense layer that is the input of both D and Q.
    """

    width: int = 32
    generator_hidden: int = 512
    shared_hidden: int = 512


@dataclass(frozen=True)
class CodeRecognitionLoss:
    """`mi_weights`: λ_y and λ_c. `affine_strength`: of the random affine map before Q reads y."""

    mi_weights: tuple[float, float] = (1.0, 0.1)
    affine_strength: float = 0.0

    def __post_init__(self) -> None:
        check_affine_strength(self.affine_strength)


class InfoGAN(AdversarialSteps, LightningModule):
    """`prior` samples the codes. Q belongs to the discriminator. Images are in [-1, 1] inside."""

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        codes: InfoGANCodes = InfoGANCodes(),
        networks: InfoGANNetworks = InfoGANNetworks(),
        recognition: CodeRecognitionLoss = CodeRecognitionLoss(),
        optim: AdversarialOptim = OPTIM,
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        if not isinstance(prior, InfoGANPrior):
            raise ValueError(
                f"the sampler is {type(prior).__name__}, which samples no categories: set the"
                " sampler's class_path to latentlab.samplers.InfoGANPrior"
            )
        regularization.require_supported(UNSUPPORTED, model="InfoGAN")
        self.num_categories, self.num_continuous = codes.num_categories, codes.num_continuous
        prior.num_classes, prior.num_continuous = codes.num_categories, codes.num_continuous
        self.setup_training(
            prior,
            latent_dim=codes.noise_dim + codes.num_continuous + codes.num_categories,
            optim=optim,
            regularization=regularization,
        )
        self.codes, self.recognition = codes, recognition
        self.build(image_shape, networks)
        self.apply(init_dcgan)
        path_of_d = nn.ModuleDict({key: self.discriminator[key] for key in ("body", "D")})
        regularization.apply_to(path_of_d, head="D")  # in place; without Q
        self.discriminator["D"] = path_of_d["D"]

    def build(self, image_shape: ImageShape, networks: InfoGANNetworks) -> None:
        """Set `generator` and `discriminator`, which is a body with two heads, D and Q."""
        width, shared = networks.width, networks.shared_hidden
        batch_norm = self.regularization.batch_norm
        self.generator = Generator(
            image_shape, latent_dim=self.latent_dim, width=width, stem=networks.generator_hidden
        )
        body = Discriminator(image_shape, width=width, batch_norm=batch_norm)
        body.head = dense(body.head.in_features, shared, slope=0.2, batch_norm=batch_norm)
        q_outputs = self.num_categories + 2 * self.num_continuous
        self.discriminator = nn.ModuleDict(
            {
                "body": body,
                "D": nn.Linear(shared, 1),
                "Q": nn.Sequential(dense(shared, 128, slope=0.2), nn.Linear(128, q_outputs)),
            }
        )

    def generate(self, z: Tensor) -> Tensor:
        noise, codes = z[:, : self.codes.noise_dim], z[:, self.codes.noise_dim :]
        return self.generator(torch.cat([self.codes.noise_scale * noise, codes], 1)).tanh()

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator["body"].features(2 * x - 1)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1] → logits of D (B,), outputs of Q (B, K + 2J)."""
        h = self.discriminator["body"](x)
        return self.discriminator["D"](h).squeeze(1), self.discriminator["Q"](h)

    def training_heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`heads`, but Q reads the category y after a random affine map of the image."""
        logits, q = self.heads(x)
        if self.recognition.affine_strength:
            q_affine = self.heads(random_affine(x, self.recognition.affine_strength))[1]
            q = torch.cat([q_affine[:, : self.num_categories], q[:, self.num_categories :]], 1)
        return logits, q

    def recognize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1] → logits of Q(y|x) (B, K), means of Q(c|x) (B, J)."""
        q = self.heads(2 * x - 1)[1]
        return q[:, : self.num_categories], q[:, self.num_categories :].chunk(2, 1)[0]

    def mutual_information(self, q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Lower bounds L(y) and L(c), nats, from the outputs of Q for images of codes z (B, D)."""
        y = z[:, -self.num_categories :].argmax(1)
        c = z[:, -self.num_categories - self.num_continuous : -self.num_categories]
        mu, logvar = q[:, self.num_categories :].chunk(2, 1)
        return (
            categorical_information(q[:, : self.num_categories], y),
            uniform_information(mu, logvar.clamp(*LOGVAR_RANGE), c),
        )

    def weighted_information(self, mi_y: Tensor, mi_c: Tensor) -> Tensor:
        """λ_y L(y) + λ_c L(c)."""
        lambda_y, lambda_c = self.recognition.mi_weights
        return lambda_y * mi_y + lambda_c * mi_c

    def batch_heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`heads` of images that are normalized by their own batch, as in training."""
        with batch_statistics(self.discriminator, len(x)):
            return self.heads(x)

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        return self.batch_heads(2 * x - 1)[0]

    def fake_logits(self, z: Tensor) -> Tensor:
        return self.batch_heads(self.generate(z))[0]

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        fake, q = self.batch_heads(self.generate(z))
        information = self.weighted_information(*self.mutual_information(q, z))
        d_loss, g_loss = self.d_loss(self.real_logits(x, y), fake), self.g_loss(fake)
        return d_loss - information, g_loss - information

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        z = self.sample_prior(x)
        x_fake = self.generate(z)

        # Phase 1: the discriminator and Q.
        x_real = self.augment_real(x)
        real, _ = self.heads(x_real)
        fake, q = self.training_heads(self.augment(x_fake.detach()))
        d_loss = self.d_loss(real, fake)
        r1_penalty = self.r1_penalty(real, x_real)
        information = self.weighted_information(*self.mutual_information(q, z))
        self.discriminator_step(d_loss - information + r1_penalty)

        # Phase 2: the generator, through the frozen discriminator and Q.
        with frozen(self.discriminator):
            fake, q = self.training_heads(self.augment(x_fake))
            mi_y, mi_c = self.mutual_information(q, z)
            g_loss = self.g_loss(fake)
            self.generator_step(g_loss - self.weighted_information(mi_y, mi_c))

        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            "mi_categorical_nats": mi_y,
            "mi_continuous_nats": mi_c,
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        z = self.sample_prior(batch[0])
        fake, q = self.batch_heads(self.generate(z))
        mi_y, mi_c = self.mutual_information(q, z)
        return {
            **self.probabilities(self.real_logits(*batch), fake),
            "mi_categorical_nats": mi_y,
            "mi_continuous_nats": mi_c,
        }

    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, self.generator.parameters())
