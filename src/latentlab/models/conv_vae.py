"""Convolutional VAE: the same bound, with networks that know what is next to what.

    −ELBO = E_q[−log p(x|z)] + KL(q(z|x) ‖ N(0, I)),   q(z|x) = N(mu(x), diag exp(logvar(x)))

Strided convolutions make mu and logvar, transposed convolutions the pixels (the layout of Radford
et al. 2016, "Unsupervised representation learning with deep convolutional GANs").

Kingma & Welling 2014, "Auto-encoding variational Bayes", eq. 10 with one sample; β ≠ 1 is the β-VAE
(Higgins et al. 2017, eq. 4). Sums over pixels and over codes, mean over the batch.
"""

from __future__ import annotations

from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.divergences import kl_standard_normal
from latentlab.losses.pixels import PixelLikelihood
from latentlab.losses.variational import draw_weighted, elbo_terms, reparameterize
from latentlab.nets.conv import Generator
from latentlab.nets.pyramids import PyramidEncoder
from latentlab.optimizers import adam_linear_decay


class ConvVAE(LightningModule):
    """`width`: channels of the widest map, doubled at each halving of its side.

    `likelihood`, `scale`, `binarize`, `beta` and `lr` as of the fully connected VAE.
    """

    family = "VAE"
    codes_are_normal = True  # the prior is N(0, I)

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        width: int = 32,
        likelihood: Literal["bernoulli", "gaussian", "categorical"] = "bernoulli",
        scale: float | None = None,
        binarize: Literal["dynamic"] | None = None,
        beta: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f"beta is {beta}: it weighs the KL and must be ≥ 0")
        self.latent_dim, self.beta, self.lr = latent_dim, beta, lr
        channels, *sides = image_shape
        self.pixels = PixelLikelihood(likelihood, scale=scale, binary=binarize is not None)
        output_shape = (channels * self.pixels.outputs, sides[0], sides[1])
        self.encoder = PyramidEncoder(image_shape, outputs=2 * latent_dim, width=width)
        self.decoder = Generator(output_shape, latent_dim=latent_dim, width=width)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.pixels.mean(self.decoder(z))

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        x = self.pixels.observe(x)
        mu, logvar = self.posterior(x)
        nll = self.pixels.nll(self.decoder(reparameterize(mu, logvar)), x)
        return elbo_terms(nll, kl_standard_normal(mu, logvar), self.beta)

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        """log p(x, z) − log q(z|x) of `samples` codes each, nats, (S, B); labels y unused."""
        z, log_ratio = draw_weighted(*self.posterior(x), samples)
        nll = self.pixels.nll(self.decoder(z.flatten(0, 1)), x.repeat(samples, 1, 1, 1))
        return log_ratio - nll.view(samples, -1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
