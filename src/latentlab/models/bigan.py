"""BiGAN: a GAN over pairs of image and code, in which an encoder learns to undo the generator.

    min_{G,E} max_D  E_x log D(x, E(x)) + E_z log(1 − D(G(z), z))

Donahue et al. 2017, "Adversarial feature learning", eq. 3; with a random encoder it is ALI
(Dumoulin et al. 2017, "Adversarially learned inference"). At the optimum both pairs have one
distribution, and E inverts G. No error in pixels is minimised: a reconstruction keeps what D sees.
G and E follow the loss with labels exchanged, as the paper does for its gradients (section 3.4).
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, Sampler
from latentlab.losses.adversarial import discriminator_loss
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.optimizers import adam, linear_decay


class BiGAN(LightningModule):
    """DCGAN's networks; `width`: channels of the widest map, doubled at each halving.

    `joint`: width of D's hidden layer over image and code; `lr`: Adam's rates of G with E, and of
    D, with `lr_decay` falling linearly to 0; `beta1`: Adam's.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 50,
        width: int = 32,
        joint: int = 256,
        lr: tuple[float, float] = (5e-4, 2e-4),
        beta1: float = 0.5,
        lr_decay: bool = True,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latent_dim, self.prior = latent_dim, prior
        self.lr, self.beta1, self.lr_decay = lr, beta1, lr_decay
        self.generator = Generator(image_shape, latent_dim=latent_dim, width=width)
        self.encoder = Discriminator(image_shape, width=width)  # its body, with a head of D numbers
        maps = self.encoder.head.in_features
        self.encoder.head = nn.Linear(maps, latent_dim)
        self.discriminator = nn.ModuleDict(
            {
                "trunk": Discriminator(image_shape, width=width).trunk,
                "joint": nn.Sequential(
                    nn.Linear(maps + latent_dim, joint),
                    nn.LeakyReLU(0.2),
                    nn.Linear(joint, joint),
                    nn.LeakyReLU(0.2),
                    nn.Linear(joint, 1),
                ),
            }
        )
        self.apply(init_dcgan)

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
        return self.discriminator["joint"](torch.cat([maps, z], 1)).squeeze(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        opt_ge, opt_d = self.optimizers()  # type: ignore[attr-defined]
        z = self.sample_prior(x)
        z_hat, x_fake = self.encoder(x), self.generate(z)

        real_logits = self.discriminate(x, z_hat.detach())
        fake_logits = self.discriminate(x_fake.detach(), z)
        d_loss = discriminator_loss(real_logits, fake_logits)
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        opt_d.step()

        self.discriminator.requires_grad_(False)  # their step needs no gradient of D's weights
        encoded, generated = self.discriminate(x, z_hat), self.discriminate(x_fake, z)
        ge_loss = discriminator_loss(generated, encoded)  # with labels exchanged
        opt_ge.zero_grad()
        self.manual_backward(ge_loss)
        opt_ge.step()
        self.discriminator.requires_grad_(True)
        for schedule in self.trainer.lr_scheduler_configs:
            schedule.scheduler.step()  # type: ignore[call-arg]
        return {
            "loss": d_loss + ge_loss,
            "d_loss": d_loss,
            "ge_loss": ge_loss,
            "d_real": real_logits.sigmoid().mean(),
            "d_fake": fake_logits.sigmoid().mean(),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells the pairs apart, and how well E and G undo each other, both ways."""
        x = 2 * batch[0] - 1
        z = self.sample_prior(x)
        z_hat, x_fake = self.encoder(x), self.generate(z)
        return {
            "d_real": self.discriminate(x, z_hat).sigmoid().mean(),
            "d_fake": self.discriminate(x_fake, z).sigmoid().mean(),
            "sse": (self.generate(z_hat) - x).square().flatten(1).sum(1).mean() / 4,
            "code_sse": (self.encoder(x_fake) - z).square().sum(1).mean(),
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        both = [*self.generator.parameters(), *self.encoder.parameters()]
        players = [
            adam(weights, lr, betas=(self.beta1, 0.999))
            for weights, lr in zip((both, self.discriminator.parameters()), self.lr, strict=True)
        ]
        steps = int(self.trainer.estimated_stepping_batches)
        return players, [linear_decay(o, steps) for o in players] if self.lr_decay else []
