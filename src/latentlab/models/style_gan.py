"""StyleGAN: a code chooses styles, and a style sets the scale of every map at every size.

    w = f(z)      x = g(w, …, w, noise)      D: −log D(x) − log(1 − D(g)) + γ/2 · E ‖∇_x D(x)‖²
                                             G: −log D(g)

Karras, Laine & Aila 2019, "A style-based generator architecture for GANs", with the modulated
convolutions, skip architecture and lazy regularisation of Karras et al. 2020, "Analyzing and
improving the image quality of StyleGAN". R1: Mescheder et al. 2018, eq. 9. Styles of two codes are
mixed in training, so that each size learns its own part.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.cures import Cures
from latentlab.games import batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import players
from latentlab.losses.penalties import r1_penalty
from latentlab.nets.style import Mapping, StyleDiscriminator, StyleGenerator
from latentlab.optimizers import adam

NO_CURE = {
    "r1": "its own r1_weight sets it",
    "r1_every": "R1 is taken every 16th step",
    "minibatch_std": "its D has it",
    "spectral_norm": "its weights are scaled at run time",
}
LAZY = 16  # R1 is computed in every 16th step, with 16 times its weight


class StyleGAN(LightningModule):
    """`width`: channels at full size, doubled at each halving up to four times as many.

    `r1_weight`: γ. `mixing`: share of batches whose styles come from two codes. `lr`: Adam's, with
    β = (0, 0.99); a tenth of it for the mapping network. Images are in [−1, 1] inside.
    """

    family = "GAN"
    border = 0.0  # the logit at which the discriminator is undecided
    mean_style: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 64,
        width: int = 32,
        r1_weight: float = 1.0,
        mixing: float = 0.5,
        lr: float = 2e-3,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if r1_weight < 0 or not 0 <= mixing <= 1:
            raise ValueError(
                f"r1_weight is {r1_weight} and mixing {mixing}: they must be ≥ 0 and in [0, 1]"
            )
        self.automatic_optimization = False
        self.latent_dim, self.r1_weight, self.mixing, self.lr = latent_dim, r1_weight, mixing, lr
        self.prior = prior
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="StyleGAN")
        self.d_loss, self.g_loss = players("non_saturating", **cures.labels)
        self.mapping = Mapping(latent_dim)
        self.generator = StyleGenerator(image_shape, style_dim=latent_dim, width=width)
        self.discriminator = StyleDiscriminator(cures.packed(image_shape), width=width)
        self.register_buffer("mean_style", torch.zeros(latent_dim))

    def styles(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """Codes (B, D) → the same style for every block (B, L, D).

        `truncation` ψ draws them towards the mean style: 1 is none, 0 the mean (2019, section B).
        """
        w = self.mean_style + truncation * (self.mapping(z) - self.mean_style)
        return w[:, None].expand(-1, self.generator.num_styles, -1)

    def draw(self, styles: Tensor, *, fresh_noise: bool = False) -> Tensor:
        """Styles (B, L, D) → images in [0, 1]; the noise of each size stands still by default."""
        return (self.generator(styles, fresh_noise=fresh_noise).tanh() + 1) / 2

    def decode(self, z: Tensor) -> Tensor:
        return self.draw(self.styles(z))

    def features(self, x: Tensor) -> Tensor:
        """The discriminator's last maps, max-pooled to 4×4."""
        alike = (2 * x - 1).repeat(1, self.cures.packing, 1, 1)
        return F.adaptive_max_pool2d(self.discriminator.trunk(alike), 4).flatten(1)

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """D's logits of images (B, C, H, W) in [0, 1], above `border` for real; one a pack."""
        return self.discriminator(self.cures.pack(2 * x - 1))

    def score_fake(self, z: Tensor) -> Tensor:
        """D's logits of the images made of codes (B, D); one a pack."""
        return self.discriminator(self.cures.pack(2 * self.decode(z) - 1))

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What D and G minimise of images x in [0, 1] and codes z, R1 and cures aside."""
        fake_logits = self.score_fake(z)
        return self.d_loss(self.score_real(x, y), fake_logits), self.g_loss(fake_logits)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = 2 * self.draw(self.mixed_styles(x), fresh_noise=True) - 1
        done = progress(self)

        lazy = self.r1_weight > 0 and batch_number(self) % LAZY == 0
        seen = self.cures.view(x, done).requires_grad_(lazy)
        real_logits = self.discriminator(seen)
        fake_logits = self.discriminator(self.cures.view(x_fake.detach(), done))
        d_loss = self.d_loss(real_logits, fake_logits)
        r1 = r1_penalty(real_logits, seen) if lazy else torch.zeros_like(d_loss)
        turn(self, opt_d, d_loss + LAZY * self.r1_weight * r1)

        with still(self.discriminator):
            g_loss = self.g_loss(self.discriminator(self.cures.view(x_fake, done)))
            turn(self, opt_g, g_loss)
        return {
            "loss": d_loss.detach() + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            "r1": r1 * LAZY,  # its mean over a window is that of the steps that had it
            **told_apart(real_logits, fake_logits),
        }

    def mixed_styles(self, like: Tensor) -> Tensor:
        """Styles of new codes; in a share of the batches those of other codes from some size on."""
        first = self.styles(self.sample_prior(like))
        mean = first[:, 0].detach().mean(0)
        if self._trainer is not None:  # one mean for all processes
            mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
        self.mean_style.lerp_(mean, 0.005)
        if float(torch.rand(())) >= self.mixing:
            return first
        second = self.styles(self.sample_prior(like))
        crossing = int(torch.randint(1, self.generator.num_styles, ()))
        return torch.cat([first[:, :crossing], second[:, crossing:]], 1)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """How D tells held-out images from fakes: 0.5 and 0.5 where it cannot."""
        fake_logits = self.score_fake(self.sample_prior(batch[0]))
        return told_apart(self.score_real(*batch), fake_logits)

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        slow = {"params": list(self.mapping.parameters()), "lr": self.lr / 10}
        opt_g = adam(self.generator.parameters(), self.lr, betas=(0.0, 0.99))
        opt_g.add_param_group(slow)
        opt_d = adam(self.discriminator.parameters(), self.lr, betas=(0.0, 0.99))
        return [opt_g, opt_d]
