"""InfoGAN: a part of the code that the image must give away comes to mean something.

    min_{G,Q} max_D  V(D, G) − λ_y L(y) − λ_c L(c),   L(c) = H(c) + E log Q(c|G(z)) ≤ I(c; G(z))

Chen et al. 2016, "InfoGAN: interpretable representation learning by information maximizing
generative adversarial nets", eqs. 4 to 6. z = (ε, c, y): noise, continuous codes and one of K
categories. Q reads c and y from D's own layers, so it costs next to nothing. No label is ever seen.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, Sampler
from latentlab.losses.adversarial import discriminator_loss, non_saturating
from latentlab.losses.information import categorical_information, uniform_information
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.optimizers import adam, linear_decay
from latentlab.priors import Coded

LOGVAR = (-6.0, 2.0)  # of Q(c|x): a surer Q would only chase rounding errors


class InfoGAN(LightningModule):
    """`noise_dim`, `continuous` and `categories`: the lengths of ε, c and y.

    `width`: channels of the widest map, doubled at each halving; `shared`: width of the layer below
    both D and Q; `weights`: λ_y and λ_c; `lr`: Adam's rates of G, and of D with Q, with `lr_decay`
    falling linearly to 0; `beta1`: Adam's.
    """

    family = "GAN"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        categories: int = 10,
        continuous: int = 2,
        noise_dim: int = 62,
        width: int = 32,
        shared: int = 256,
        weights: tuple[float, float] = (1.0, 0.1),
        lr: tuple[float, float] = (1e-3, 2e-4),
        beta1: float = 0.5,
        lr_decay: bool = True,
    ) -> None:
        super().__init__()
        if categories < 2 or continuous < 0:
            raise ValueError(
                f"categories is {categories}, continuous {continuous}: at least 2 categories and no"
                " negative number of continuous codes are allowed"
            )
        if not isinstance(prior, Coded):
            raise ValueError(
                f"the sampler is {type(prior).__name__}, which draws no codes: name"
                " latentlab.priors.Coded as the sampler's class_path"
            )
        self.automatic_optimization = False
        prior.num_classes, prior.num_continuous = categories, continuous
        self.prior, self.categories, self.continuous = prior, categories, continuous
        self.latent_dim = noise_dim + continuous + categories
        self.weights, self.lr, self.beta1, self.lr_decay = weights, lr, beta1, lr_decay
        self.generator = Generator(image_shape, latent_dim=self.latent_dim, width=width)
        convolutions = Discriminator(image_shape, width=width)
        self.observers = nn.ModuleDict(
            {
                "trunk": convolutions.trunk,
                "shared": nn.Sequential(
                    nn.Linear(convolutions.head.in_features, shared), nn.LeakyReLU(0.2)
                ),
                "D": nn.Linear(shared, 1),
                "Q": nn.Sequential(
                    nn.Linear(shared, 128, bias=False),
                    nn.BatchNorm1d(128),
                    nn.LeakyReLU(0.2),
                    nn.Linear(128, categories + 2 * continuous),
                ),
            }
        )
        self.apply(init_dcgan)

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        return self.generator(z).tanh()  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's last maps, max-pooled to 4×4 (Radford et al. 2016, section 5.1)."""
        return F.adaptive_max_pool2d(self.observers["trunk"](2 * x - 1), 4).flatten(1)

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [−1, 1] → D's logits (B,), and what Q says (B, K + 2J), of the same layer."""
        maps = self.observers["trunk"](x).movedim(1, 3).flatten(1)
        seen = self.observers["shared"](maps)
        return self.observers["D"](seen).squeeze(1), self.observers["Q"](seen)

    def recognize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) → logits of Q(y|x) (B, K) and means of Q(c|x) (B, J)."""
        said = self.look(2 * x - 1)[1]
        return said[:, : self.categories], said[:, self.categories :].chunk(2, 1)[0]

    def information(self, said: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """L(y) and L(c), nats, from what Q says of images made of the codes z (B, D)."""
        y = z[:, -self.categories :].argmax(1)
        c = z[:, -self.categories - self.continuous : -self.categories]
        mu, logvar = said[:, self.categories :].chunk(2, 1)
        return (
            categorical_information(said[:, : self.categories], y),
            uniform_information(mu, logvar.clamp(*LOGVAR), c),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        z = self.sample_prior(x)
        x_fake = self.generate(z)

        real_logits, _ = self.look(x)
        fake_logits, said = self.look(x_fake.detach())
        d_loss = discriminator_loss(real_logits, fake_logits)
        opt_d.zero_grad()
        self.manual_backward(d_loss - self.weigh(*self.information(said, z)))
        opt_d.step()

        self.observers.requires_grad_(False)  # G's step needs no gradient of D's and Q's weights
        fake_logits, said = self.look(x_fake)
        about_y, about_c = self.information(said, z)
        g_loss = non_saturating(fake_logits)
        opt_g.zero_grad()
        self.manual_backward(g_loss - self.weigh(about_y, about_c))
        opt_g.step()
        self.observers.requires_grad_(True)
        for schedule in self.trainer.lr_scheduler_configs:
            schedule.scheduler.step()  # type: ignore[call-arg]
        return {
            "loss": d_loss + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            "category_nats": about_y,
            "continuous_nats": about_c,
        }

    def weigh(self, about_y: Tensor, about_c: Tensor) -> Tensor:
        return self.weights[0] * about_y + self.weights[1] * about_c

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells held-out images from fakes, and how much Q reads in the fakes."""
        x = 2 * batch[0] - 1
        z = self.sample_prior(x)
        fake_logits, said = self.look(self.generate(z))
        about_y, about_c = self.information(said, z)
        return {
            "d_real": self.look(x)[0].sigmoid().mean(),
            "d_fake": fake_logits.sigmoid().mean(),
            "category_nats": about_y,
            "continuous_nats": about_c,
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        players = [
            adam(network.parameters(), lr, betas=(self.beta1, 0.999))
            for network, lr in zip((self.generator, self.observers), self.lr, strict=True)
        ]
        steps = int(self.trainer.estimated_stepping_batches)
        return players, [linear_decay(o, steps) for o in players] if self.lr_decay else []
