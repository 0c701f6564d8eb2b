"""StyleGAN: a mapping network turns the code into styles, which scale the feature maps.

    w = f(z)      x = g(w, …, w, noise)      D: −log D(x) − log(1 − D(g)) + γ/2 · E‖∇_x D(x)‖²
                                             G: −log D(g)

This is a small version, with modulated convolutions, skip architecture and lazy regularization: the
R1 penalty is computed at every 16th step (`r1_interval`) with 16 times the weight. A fraction of
the training batches mixes the styles of two codes, so that each size of the image learns its own
style.

Differs from the paper: 4 mapping layers with a tenth of the generator's learning rate; the papers
have 8, with a hundredth.
Differs from the paper: no equalized learning rates, no path length regularization and no blur; the
noise of decoded images is one constant map for all. Details vary less.
Differs from the paper: lazy R1 does not change Adam. The paper also takes the learning rate times
16/17, and β to the power of 16/17.

Paper: Karras et al. 2019, "A style-based generator architecture for GANs", arXiv:1812.04948.
Paper: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN",
arXiv:1912.04958.
Paper: Mescheder et al. 2018, "Which training methods for GANs do actually converge?",
arXiv:1801.04406, eq. 9 (R1).
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.networks.stylegan import Mapping, StyleDiscriminator, StyleGenerator
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    frozen,
)

UNSUPPORTED = {
    "minibatch_stddev": "its discriminator always has it",
    "spectral_norm": "the R1 penalty bounds its gradient, as in the paper",
}
OPTIM = AdversarialOptim(generator_lr=2e-3, discriminator_lr=2e-3, betas=(0.0, 0.99))
LAZY_R1 = DiscriminatorRegularization(r1_gamma=1.0, r1_interval=16)


class StyleGAN(AdversarialSteps, LightningModule):
    """`width`: channels at full size, doubled at each halving, at most four times as many.

    `style_mixing_prob`: fraction of the training batches with styles of two codes. The mapping
    network has a tenth of the generator's learning rate. Images are in [-1, 1] inside.
    """

    family = "GAN"
    mean_style: Tensor  # (D,)

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        latent_dim: int = 64,
        width: int = 32,
        style_mixing_prob: float = 0.5,
        optim: AdversarialOptim = OPTIM,
        regularization: DiscriminatorRegularization = LAZY_R1,
    ) -> None:
        super().__init__()
        if not 0 <= style_mixing_prob <= 1:
            raise ValueError(f"style_mixing_prob is {style_mixing_prob}: it must be in [0, 1]")
        regularization.require_supported(UNSUPPORTED, model="StyleGAN")
        self.setup_training(
            prior, latent_dim=latent_dim, optim=optim, regularization=regularization
        )
        self.style_mixing_prob = style_mixing_prob
        input_shape = regularization.packed_shape(image_shape)
        self.mapping = Mapping(latent_dim)
        self.generator = StyleGenerator(image_shape, style_dim=latent_dim, width=width)
        self.discriminator = StyleDiscriminator(input_shape, width=width)
        self.register_buffer("mean_style", torch.zeros(latent_dim))

    def styles(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """Codes (B, D) → styles (B, L, D), equal for all L blocks.

        `truncation` ψ moves the styles towards the mean style: 1 is no truncation, 0 the mean style
        (Karras et al. 2019, appendix B).
        """
        w = self.mean_style + truncation * (self.mapping(z) - self.mean_style)
        return w[:, None].expand(-1, self.generator.num_styles, -1)

    def synthesize(self, styles: Tensor, *, fresh_noise: bool = False) -> Tensor:
        """Styles (B, L, D) → images in [0, 1], with constant or with new noise."""
        return (self.generator(styles, fresh_noise=fresh_noise).tanh() + 1) / 2

    def decode(self, z: Tensor) -> Tensor:
        return self.synthesize(self.styles(z))

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator.features(self.regularization.repeat(2 * x - 1))

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        return self.discriminator(self.regularization.pack(2 * x - 1))

    def fake_logits(self, z: Tensor) -> Tensor:
        return self.discriminator(self.regularization.pack(2 * self.decode(z) - 1))

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        fake = self.fake_logits(z)
        return self.d_loss(self.real_logits(x, y), fake), self.g_loss(fake)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = 2 * batch[0] - 1
        x_fake = 2 * self.synthesize(self.mixed_styles(x), fresh_noise=True) - 1

        # Phase 1: the discriminator, with lazy R1.
        real, fake, r1_penalty = self.discriminate(x, x_fake.detach())
        d_loss = self.d_loss(real, fake)
        self.discriminator_step(d_loss + r1_penalty)

        # Phase 2: the generator and the mapping network, through the frozen discriminator.
        with frozen(self.discriminator):
            g_loss = self.g_loss(self.discriminator(self.augment(x_fake)))
            self.generator_step(g_loss)

        return {
            "loss": d_loss.detach() + g_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
            **self.r1_terms(r1_penalty),
            **self.probabilities(real, fake),
        }

    def mixed_styles(self, x: Tensor) -> Tensor:
        """Styles of new codes, mixed with a second code with probability `style_mixing_prob`.

        The blocks from a random index on get the styles of the second code. This method also
        updates the mean style, equally in all processes.
        """
        first = self.styles(self.sample_prior(x))
        mean = first[:, 0].detach().mean(0)
        if self._trainer is not None:
            mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
        self.mean_style.lerp_(mean, 0.005)
        if float(torch.rand(())) >= self.style_mixing_prob:
            return first
        second = self.styles(self.sample_prior(x))
        crossover = int(torch.randint(1, self.generator.num_styles, ()))
        return torch.cat([first[:, :crossover], second[:, crossover:]], 1)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        fake = self.fake_logits(self.sample_prior(batch[0]))
        return self.probabilities(self.real_logits(*batch), fake)

    def configure_optimizers(self) -> Any:
        mapping = {"params": self.mapping.parameters(), "lr": self.optim.generator_lr / 10}
        return adversarial_adam(self, [{"params": self.generator.parameters()}, mapping])
