"""Variational autoencoder: the latent code is a distribution, kept close to a prior.

    q(z|x) = N(mu(x), diag(sigma(x)²))        z = mu + sigma · eps,  eps ~ N(0, I)
    loss   = E_q[−log p(x|z)] + beta · KL(q(z|x) ‖ N(0, I))

With beta = 1 the loss is −ELBO, an upper bound of −log p(x), estimated with one sample of z. It is
a sum over pixels and over the units of the code, and a mean over the batch.

Differs from the paper: a Bernoulli is a likelihood of binary pixels. Without `binarize`, grey
levels are used in its place, as probabilities; the likelihood of an image is then measured on
binary samples of it, which the encoder has not seen in training.

Paper: Kingma & Welling 2014, "Auto-encoding variational Bayes", arXiv:1312.6114, eq. 10.
Paper: Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained variational
framework", eq. 4 (beta ≠ 1).
"""

from __future__ import annotations

from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.pixel_likelihood import Likelihood, PixelLikelihood, Scale
from latentlab.losses.variational import (
    elbo_terms,
    kl_standard_normal,
    reparameterize,
    sample_weighted,
)
from latentlab.networks.mlp import MLP
from latentlab.networks.network import Network
from latentlab.optim.adam import adam_linear_decay


class VAE(LightningModule):
    """`network` builds encoder and decoder: MLP or Conv. `beta` weighs the KL.

    `likelihood` and `scale` as for losses.pixel_likelihood.PixelLikelihood. `binarize` "dynamic"
    samples each pixel as 0 or 1, anew at each use, with its grey level as probability
    (Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks"); None
    scores the grey levels. `lr`: Adam's learning rate, decays linearly to 0.
    """

    family = "VAE"
    standard_normal_prior = True

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        network: Network = MLP(),
        likelihood: Likelihood = "bernoulli",
        scale: Scale = None,
        binarize: Literal["dynamic"] | None = None,
        beta: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f"beta is {beta}: the weight of the KL must be ≥ 0")
        self.latent_dim, self.beta, self.lr = latent_dim, beta, lr
        self.likelihood = PixelLikelihood(likelihood, scale=scale, binary=binarize is not None)
        self.encoder, self.decoder = network.build(
            image_shape,
            latent_dim,
            outputs_per_latent=2,
            outputs_per_pixel=self.likelihood.outputs,
        )

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))

    features = encode

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        x = self.likelihood.observe(x)
        mu, logvar = self.posterior(x)
        nll = self.likelihood.nll(self.decoder(reparameterize(mu, logvar)), x)  # (B,)
        return elbo_terms(nll, kl_standard_normal(mu, logvar), self.beta)

    def log_weights(self, x: Tensor, y: Tensor, num_samples: int) -> Tensor:
        """log p(x, z) − log q(z|x) of S codes for each image, nats, (S, B); y is not used."""
        z, log_ratio = sample_weighted(*self.posterior(x), num_samples)  # (S, B, D), (S, B)
        x = x.repeat(num_samples, 1, 1, 1)
        nll = self.likelihood.nll(self.decoder(z.flatten(0, 1)), x)
        return log_ratio - nll.view(num_samples, -1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
