"""BiGAN: a GAN over pairs of image and code, in which an encoder learns to undo the generator.

    min_{G,E} max_D  E_x log D(x, E(x)) + E_z log(1 − D(G(z), z))
    and G, E besides  min  cycle · E_z ‖E(G(z)) − z‖² / dim z

At the optimum of the first line both pairs have one distribution, and E inverts G. G and E follow
it with labels exchanged, as the paper does for its gradients (section 3.4). That optimum is far: D
tells images apart long before it needs their codes, and E learns little meanwhile. The second line,
off with `cycle` 0, asks at once for what holds there anyway. No error in pixels is minimised: a
reconstruction keeps what D sees.

Donahue et al. 2017, "Adversarial feature learning", eq. 3; with a random encoder it is ALI
(Dumoulin et al. 2017, "Adversarially learned inference"). The second line: Li et al. 2017, "ALICE:
towards understanding adversarial learning for joint distribution matching", with a Gaussian code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import adam_each, advance, batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import discriminator_loss, players
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.nets.flat import dense

NO_CURE = {"packing": "D is asked about one image and its code"}


class BiGAN(LightningModule):
    """DCGAN's networks; `width`: channels of the widest map, doubled at each halving.

    `joint`: width of D's layers over image, code and both; `cycle`: weight of the second line;
    `lr`: rates of G with E, and of D, with `lr_decay` falling linearly to 0; `beta1`: Adam's.
    """

    family = "GAN"
    border = 0.0  # the logit at which D is undecided

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 50,
        width: int = 32,
        joint: int = 256,
        cycle: float = 0.0,
        lr: tuple[float, float] = (5e-4, 2e-4),
        beta1: float = 0.5,
        lr_decay: bool = True,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if cycle < 0:
            raise ValueError(f"cycle is {cycle}: it weighs an error and must be ≥ 0")
        self.automatic_optimization = False
        self.latent_dim, self.prior, self.cycle = latent_dim, prior, cycle
        self.lr, self.beta1, self.lr_decay = lr, beta1, lr_decay
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="BiGAN")
        self.d_loss, _ = players("non_saturating", **cures.labels)
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.encoder = Discriminator(image_shape, width=width)  # its body, with a head of D numbers
        maps = self.encoder.head.in_features
        self.encoder.head = nn.Linear(maps, latent_dim)
        trunk = Discriminator(image_shape, width=width, batch_norm=cures.batch_norm).trunk
        for network in (self.generator, self.encoder, trunk):
            network.apply(init_dcgan)
        self.discriminator = nn.ModuleDict(
            {
                "trunk": trunk,
                # As wide for the code as for the image, with torch's own start: from DCGAN's, 50
                # codes beside 3136 maps move the next layer a quarter as much.
                "image": dense(maps, joint, slope=0.2, batch_norm=False),
                "code": dense(latent_dim, joint, slope=0.2, batch_norm=False),
                "joint": nn.Sequential(
                    nn.Linear(2 * joint, joint), nn.LeakyReLU(0.2), nn.Linear(joint, 1)
                ),
            }
        )
        cures.equip(self.discriminator, head="joint")

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(2 * x - 1)  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def discriminate(self, x: Tensor, z: Tensor) -> Tensor:
        """Images in [−1, 1] and codes → logits (B,), high for an image with its encoding."""
        maps = self.discriminator["trunk"](x).movedim(1, 3).flatten(1)
        pair = [self.discriminator["image"](maps), self.discriminator["code"](z)]
        return self.discriminator["joint"](torch.cat(pair, 1)).squeeze(1)

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """D's logits of images (B, C, H, W) in [0, 1], each with its encoding."""
        x = 2 * x - 1
        return self.discriminate(x, self.encoder(x))

    def score_fake(self, z: Tensor) -> Tensor:
        """D's logits of codes (B, D) with the images made of them."""
        return self.discriminate(self.generate(z), z)

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What D, and G with E minimise of images x in [0, 1] and codes z, no cure's noise."""
        encoded, x_fake = self.score_real(x, y), self.generate(z)
        generated = self.discriminate(x_fake, z)
        ge_loss = discriminator_loss(generated, encoded) + self.undoing(x_fake, z)
        return self.d_loss(encoded, generated), ge_loss

    def undoing(self, x_fake: Tensor, z: Tensor) -> Tensor:
        """The cycle's term, of images (B, C, H, W) in [−1, 1] made of codes (B, D)."""
        if not self.cycle:
            return x_fake.new_zeros(())
        return self.cycle * F.mse_loss(self.encoder(x_fake), z)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        opt_ge, opt_d = self.optimizers()  # type: ignore[attr-defined]
        z = self.sample_prior(x)
        z_hat, x_fake = self.encoder(x), self.generate(z)
        done = progress(self)

        seen = self.cures.view(x, done).requires_grad_(self.cures.r1 > 0)
        real_logits = self.discriminate(seen, z_hat.detach())
        fake_logits = self.discriminate(self.cures.view(x_fake.detach(), done), z)
        d_loss = self.d_loss(real_logits, fake_logits)
        turn(self, opt_d, d_loss + self.cures.penalty(real_logits, seen, batch_number(self)))

        with still(self.discriminator):
            encoded = self.discriminate(self.cures.view(x, done), z_hat)
            generated = self.discriminate(self.cures.view(x_fake, done), z)
            ge_loss = discriminator_loss(generated, encoded)  # with labels exchanged
            ge_loss = ge_loss + self.undoing(x_fake, z)
            turn(self, opt_ge, ge_loss)
        advance(self)
        return {
            "loss": d_loss + ge_loss,
            "d_loss": d_loss,
            "ge_loss": ge_loss,
            **told_apart(real_logits, fake_logits),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells the pairs apart, and how well E and G undo each other, both ways."""
        x = 2 * batch[0] - 1
        z = self.sample_prior(x)
        z_hat, x_fake = self.encoder(x), self.generate(z)
        return {
            **told_apart(self.discriminate(x, z_hat), self.discriminate(x_fake, z)),
            "sse": (self.generate(z_hat) - x).square().flatten(1).sum(1).mean() / 4,
            "code_sse": (self.encoder(x_fake) - z).square().sum(1).mean(),
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        return adam_each(
            ([*self.generator.parameters(), *self.encoder.parameters()], self.lr[0]),
            (self.discriminator.parameters(), self.lr[1]),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches) if self.lr_decay else None,
        )
