"""Variational autoencoder: a code that is a distribution, kept close to a prior one can sample.

    q(z|x) = N(mu(x), diag exp(logvar(x)))        z = mu + exp(logvar/2) · eps,  eps ~ N(0, I)
    −ELBO  = E_q[−log p(x|z)] + KL(q(z|x) ‖ N(0, I))          loss = E_q[−log p(x|z)] + β · KL

Kingma & Welling 2014, "Auto-encoding variational Bayes", eq. 10 with one sample; β ≠ 1 is the β-VAE
(Higgins et al. 2017, eq. 4). Sums over pixels and over codes, mean over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.divergences import kl_standard_normal
from latentlab.losses.pixels import PixelLikelihood
from latentlab.losses.variational import draw_weighted, elbo_terms, reparameterize
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay


class VAE(LightningModule):
    """Fully connected; `hidden` are the encoder's widths, mirrored in the decoder.

    `likelihood`: "bernoulli" reads grey levels as probabilities, or with `binarize` "dynamic" draws
    each pixel anew as 0 or 1 at each use; "gaussian" has mean σ(logits) and one standard deviation
    for all pixels: `scale`, or learned where `scale` is None; "categorical" is a softmax over 256
    grey levels. `beta` weighs the KL. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "VAE"
    codes_are_normal = True  # the prior is N(0, I)

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
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
        channels, height, width = image_shape
        pixels = channels * height * width
        self.pixels = PixelLikelihood(likelihood, scale=scale, binary=binarize is not None)
        outputs = self.pixels.outputs
        self.output_shape = (outputs * channels, height, width)
        self.encoder = mlp([pixels, *hidden, 2 * latent_dim], activation=activation)
        self.decoder = mlp([latent_dim, *reversed(hidden), outputs * pixels], activation=activation)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode_logits(self, z: Tensor) -> Tensor:
        """What the likelihood reads: a number per value of the image, or 8 where categorical."""
        return self.decoder(z).unflatten(1, self.output_shape)  # (B, C or 8C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.pixels.mean(self.decode_logits(z))

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        x = self.pixels.observe(x)
        mu, logvar = self.posterior(x)
        nll = self.pixels.nll(self.decode_logits(reparameterize(mu, logvar)), x)
        return elbo_terms(nll, kl_standard_normal(mu, logvar), self.beta)

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        """log p(x, z) − log q(z|x) of `samples` codes each, nats, (S, B); labels y unused."""
        z, log_ratio = draw_weighted(*self.posterior(x), samples)
        nll = self.pixels.nll(self.decode_logits(z.flatten(0, 1)), x.repeat(samples, 1, 1, 1))
        return log_ratio - nll.view(samples, -1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
