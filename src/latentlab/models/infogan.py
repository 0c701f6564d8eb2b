"""InfoGAN: a part of the code that the image must give away comes to mean something.

    min_{G,Q} max_D  V(D, G) − λ_y L(y) − λ_c L(c),   L(c) = H(c) + E log Q(c|G(z)) ≤ I(c; G(z))

Chen et al. 2016, "InfoGAN: interpretable representation learning by information maximizing
generative adversarial nets", eqs. 4 to 6. z = (ε, c, y): noise, continuous codes and one of K
categories. Q reads c and y from D's own layers, so it costs next to nothing. No label is ever seen.

What a category comes to mean is up to the game. Two switches help it to mean a class: faint noise,
so that the category moves G most, and a Q that reads the category through a warp of the image, so
that slant, size and place cannot carry it (Hu et al. 2017, "Learning discrete representations via
information maximizing self-augmented training", section 2.1, ask the same of a classifier).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, Sampler
from latentlab.corruption import check_warp, warp
from latentlab.cures import Cures
from latentlab.games import adam_each, advance, batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import players
from latentlab.losses.information import categorical_information, uniform_information
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.nets.flat import dense
from latentlab.priors import Coded

NO_CURE = {"packing": "Q reads the code of one image"}
LOGVAR = (-6.0, 2.0)  # of Q(c|x): a surer Q would only chase rounding errors


class InfoGAN(LightningModule):
    """`noise_dim`, `continuous` and `categories`: the lengths of ε, c and y.

    `noise_scale`: what ε is multiplied by before G; `warp`: strength of the one Q reads y through;
    `width`: channels of the widest map, doubled at each halving; `stem` and `shared`: units of the
    dense layers that G begins with, and that lies below both D and Q; `weights`: λ_y and λ_c; `lr`:
    Adam's rates of G, and of D with Q, with `lr_decay` falling linearly to 0; `beta1`: Adam's.
    """

    family = "GAN"
    border = 0.0  # the logit at which D is undecided

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        categories: int = 10,
        continuous: int = 2,
        noise_dim: int = 62,
        noise_scale: float = 1.0,
        warp: float = 0.0,
        width: int = 32,
        stem: int = 512,
        shared: int = 512,
        weights: tuple[float, float] = (1.0, 0.1),
        lr: tuple[float, float] = (1e-3, 2e-4),
        beta1: float = 0.5,
        lr_decay: bool = True,
        cures: Cures | None = None,
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
        check_warp(warp)
        if noise_scale <= 0:
            raise ValueError(f"noise_scale is {noise_scale}: it must be > 0; 1 leaves ε as it is")
        self.automatic_optimization = False
        self.noise_dim, self.noise_scale, self.warp = noise_dim, noise_scale, warp
        prior.num_classes, prior.num_continuous = categories, continuous
        self.prior, self.categories, self.continuous = prior, categories, continuous
        self.latent_dim = noise_dim + continuous + categories
        self.weights, self.lr, self.beta1, self.lr_decay = weights, lr, beta1, lr_decay
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="InfoGAN")
        self.d_loss, self.g_loss = players("non_saturating", **cures.labels)
        self.generator = Generator(image_shape, latent_dim=self.latent_dim, width=width, stem=stem)
        body = Discriminator(image_shape, width=width, batch_norm=cures.batch_norm)
        body.head = dense(body.head.in_features, shared, slope=0.2, batch_norm=cures.batch_norm)
        self.discriminator = nn.ModuleDict(  # with Q, which costs next to nothing
            {
                "body": body,
                "D": nn.Linear(shared, 1),
                "Q": nn.Sequential(
                    dense(shared, 128, slope=0.2), nn.Linear(128, categories + 2 * continuous)
                ),
            }
        )
        self.apply(init_dcgan)
        cures.equip(self.discriminator, head="body.head")

    def generate(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images in [−1, 1], as the discriminator sees them."""
        noise, codes = z[:, : self.noise_dim], z[:, self.noise_dim :]
        return self.generator(torch.cat([self.noise_scale * noise, codes], 1)).tanh()

    def decode(self, z: Tensor) -> Tensor:
        return (self.generate(z) + 1) / 2

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's last maps, max-pooled to 4×4 (Radford et al. 2016, section 5.1)."""
        return F.adaptive_max_pool2d(
            self.discriminator.get_submodule("body.trunk")(2 * x - 1), 4
        ).flatten(1)

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [−1, 1] → D's logits (B,), and what Q says (B, K + 2J), of the same layer."""
        seen = self.discriminator["body"](x)
        return self.discriminator["D"](seen).squeeze(1), self.discriminator["Q"](seen)

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `look`, but Q has to tell y by a warp of the images, where `warp` is above 0."""
        logits, said = self.look(x)
        if self.warp:
            through = self.look(warp(x, self.warp))[1]
            said = torch.cat([through[:, : self.categories], said[:, self.categories :]], 1)
        return logits, said

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """D's logits of images (B, C, H, W) in [0, 1], above `border` for real."""
        return self.look(2 * x - 1)[0]

    def score_fake(self, z: Tensor) -> Tensor:
        """D's logits of the images made of codes (B, D)."""
        return self.look(self.generate(z))[0]

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What D with Q, and G minimise of images x in [0, 1] and codes z, no warp, no cure."""
        fake_logits, said = self.look(self.generate(z))
        known = self.weigh(*self.information(said, z))
        d_loss = self.d_loss(self.score_real(x, y), fake_logits)
        return d_loss - known, self.g_loss(fake_logits) - known

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
        done = progress(self)

        seen = self.cures.view(x, done).requires_grad_(self.cures.r1 > 0)
        real_logits, _ = self.look(seen)
        fake_logits, said = self.ask(self.cures.view(x_fake.detach(), done))
        d_loss = self.d_loss(real_logits, fake_logits)
        penalty = self.cures.penalty(real_logits, seen, batch_number(self))
        turn(self, opt_d, d_loss - self.weigh(*self.information(said, z)) + penalty)

        with still(self.discriminator):
            fake_logits, said = self.ask(self.cures.view(x_fake, done))
            about_y, about_c = self.information(said, z)
            g_loss = self.g_loss(fake_logits)
            turn(self, opt_g, g_loss - self.weigh(about_y, about_c))
        advance(self)
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
            **told_apart(self.look(x)[0], fake_logits),
            "category_nats": about_y,
            "continuous_nats": about_c,
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        return adam_each(
            (self.generator.parameters(), self.lr[0]),
            (self.discriminator.parameters(), self.lr[1]),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches) if self.lr_decay else None,
        )
