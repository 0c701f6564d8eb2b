"""BiGAN: a GAN of pairs (image, code), with an encoder that learns to invert the generator.

    min_{G,E} max_D  E_x log D(x, E(x)) + E_z log(1 − D(G(z), z))
    min_{G,E}        latent_cycle_weight · E_z ‖E(G(z)) − z‖² / dim z

At the optimum of the first line, both pairs have one distribution, and E inverts G. G and E
minimize it with exchanged labels (section 3.4). D separates images before it uses the codes, so E
learns slowly from the first line alone. The second line trains E directly; weight 0 is BiGAN. No
pixel error is minimized, so a reconstruction keeps what D distinguishes.

Differs from the paper: both steps of a batch use the same generated images, as in dcgan.
Differs from the paper: the second line is not in the paper. With a weight above 0 the encoder is
taught directly, and its reconstructions are not those of an adversarial game alone.

Paper: Donahue et al. 2017, "Adversarial feature learning", arXiv:1605.09782, eq. 3.
Paper: Dumoulin et al. 2017, "Adversarially learned inference", arXiv:1606.00704 (with a stochastic
encoder).
Paper: Li et al. 2017, "ALICE: towards understanding adversarial learning for joint distribution
matching", arXiv:1709.01215 (the second line, with a Gaussian code).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.losses.adversarial import discriminator_loss
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

UNSUPPORTED = {"packing": "its discriminator gets one image and its code"}
OPTIM = AdversarialOptim(generator_lr=5e-4, discriminator_lr=2e-4, linear_decay=True)


class BiGAN(AdversarialSteps, LightningModule):
    """The networks of DCGAN. The generator's optimizer also updates the encoder.

    `width`: channels after the first halving of the image, doubled at each further halving.
    `joint_hidden`: widths of the discriminator's layers for the image, the code, and both.
    `latent_cycle_weight`: weight of the second line. Images are in [-1, 1] inside.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 50,
        width: int = 32,
        joint_hidden: int = 256,
        latent_cycle_weight: float = 0.0,
        optim: AdversarialOptim = OPTIM,
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        if latent_cycle_weight < 0:
            raise ValueError(f"latent_cycle_weight is {latent_cycle_weight}: it must be ≥ 0")
        regularization.require_supported(UNSUPPORTED, model="BiGAN")
        self.setup_training(
            prior, latent_dim=latent_dim, optim=optim, regularization=regularization
        )
        self.latent_cycle_weight = latent_cycle_weight
        batch_norm = regularization.batch_norm
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.encoder = Discriminator(image_shape, width=width)
        num_maps = self.encoder.head.in_features
        self.encoder.head = nn.Linear(num_maps, latent_dim)
        trunk = Discriminator(image_shape, width=width, batch_norm=batch_norm).trunk
        for network in (self.generator, self.encoder, trunk):
            network.apply(init_dcgan)
        self.discriminator = joint_discriminator(trunk, num_maps, latent_dim, joint_hidden)
        regularization.apply_to(self.discriminator, head="joint")

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z).tanh()  # (B, C, H, W)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(2 * x - 1)  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    features = encode

    def pair_logits(self, x: Tensor, z: Tensor) -> Tensor:
        """Logits (B,) of pairs of images in [-1, 1] and codes; high: an image with its code."""
        maps = self.discriminator["trunk"](x).movedim(1, 3).flatten(1)
        pair = [self.discriminator["image"](maps), self.discriminator["code"](z)]
        return self.discriminator["joint"](torch.cat(pair, 1)).squeeze(1)

    def latent_cycle_loss(self, x_fake: Tensor, z: Tensor) -> Tensor:
        """The second line, weighted; x_fake are the images in [-1, 1] generated from z."""
        if not self.latent_cycle_weight:
            return x_fake.new_zeros(())
        return self.latent_cycle_weight * F.mse_loss(self.encoder(x_fake), z)

    def batch_logits(self, x: Tensor, z: Tensor) -> Tensor:
        """`pair_logits` of pairs that are normalized by their own batch, as in training."""
        with batch_statistics(self.discriminator, len(x)):
            return self.pair_logits(x, z)

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        x = 2 * x - 1
        return self.batch_logits(x, self.encoder(x))

    def fake_logits(self, z: Tensor) -> Tensor:
        return self.batch_logits(self.generate(z), z)

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        real, x_fake = self.real_logits(x, y), self.generate(z)
        fake = self.batch_logits(x_fake, z)
        g_loss = discriminator_loss(fake, real) + self.latent_cycle_loss(x_fake, z)
        return self.d_loss(real, fake), g_loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        z = self.sample_prior(x)
        z_hat, x_fake = self.encoder(x), self.generate(z)

        # Phase 1: the discriminator.
        x_real = self.augment_real(x)
        real = self.pair_logits(x_real, z_hat.detach())
        fake = self.pair_logits(self.augment(x_fake.detach()), z)
        d_loss = self.d_loss(real, fake)
        self.discriminator_step(d_loss + self.r1_penalty(real, x_real))

        # Phase 2: generator and encoder, with exchanged labels.
        with frozen(self.discriminator):
            encoded = self.pair_logits(self.augment(x), z_hat)
            generated = self.pair_logits(self.augment(x_fake), z)
            g_loss = discriminator_loss(generated, encoded) + self.latent_cycle_loss(x_fake, z)
            self.generator_step(g_loss)

        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **self.probabilities(real, fake),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Probabilities of the pairs, and the errors of G(E(x)) and E(G(z)).

        `sse`: squared error of a reconstruction in [0, 1], summed over pixels. `latent_sse`:
        squared error of a code, summed over its elements. Both are means over the batch.
        """
        x = 2 * batch[0] - 1
        z = self.sample_prior(x)
        z_hat, x_fake = self.encoder(x), self.generate(z)
        real, fake = self.batch_logits(x, z_hat), self.batch_logits(x_fake, z)
        return {
            **self.probabilities(real, fake),
            "sse": (self.generate(z_hat) - x).square().flatten(1).sum(1).mean() / 4,
            "latent_sse": (self.encoder(x_fake) - z).square().sum(1).mean(),
        }

    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, [*self.generator.parameters(), *self.encoder.parameters()])


def joint_discriminator(
    trunk: nn.Module, num_maps: int, latent_dim: int, hidden: int
) -> nn.ModuleDict:
    """Layers of D. The code gets as many units as the image, initialized by torch's default.

    With DCGAN's initialization, 50 values of the code beside 3136 of the feature maps would change
    the next layer a quarter as much.
    """
    return nn.ModuleDict(
        {
            "trunk": trunk,
            "image": dense(num_maps, hidden, slope=0.2, batch_norm=False),
            "code": dense(latent_dim, hidden, slope=0.2, batch_norm=False),
            "joint": nn.Sequential(
                nn.Linear(2 * hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
            ),
        }
    )
