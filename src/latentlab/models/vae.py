"""Variational autoencoder: a code that is a distribution, kept close to a prior one can sample.

    q(z|x) = N(mu(x), diag exp(logvar(x)))        z = mu + exp(logvar/2) · eps,  eps ~ N(0, I)
    −ELBO  = E_q[−log p(x|z)] + KL(q(z|x) ‖ N(0, I))          loss = E_q[−log p(x|z)] + β · KL

Kingma & Welling 2014, "Auto-encoding variational Bayes", eq. 10 with one sample; β ≠ 1 is the β-VAE
(Higgins et al. 2017, eq. 4). Sums over pixels and over codes, mean over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.divergences import kl_standard_normal
from latentlab.losses.likelihoods import bernoulli_nll, gaussian_nll
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay


class VAE(LightningModule):
    """Fully connected; `hidden` are the encoder's widths, mirrored in the decoder.

    `likelihood`: "bernoulli" reads grey levels as probabilities; "gaussian" has mean σ(logits) and
    one standard deviation for all pixels: `scale`, or learned where `scale` is None (Rybkin et al.
    2021). `beta` weighs the KL. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "VAE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        scale: float | None = None,
        beta: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if scale is not None and scale <= 0:
            raise ValueError(f"scale is a standard deviation and must be > 0, got {scale}")
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        self.likelihood, self.beta = likelihood, beta
        channels, height, width = image_shape
        pixels = channels * height * width
        self.encoder = mlp([pixels, *hidden, 2 * latent_dim], activation=activation)
        self.decoder = mlp([latent_dim, *reversed(hidden), pixels], activation=activation)
        if likelihood == "gaussian":
            start = torch.tensor(math.log(0.1 if scale is None else scale))
            self.log_scale = nn.Parameter(start, requires_grad=scale is None)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_logits(z).sigmoid()

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def nll(self, logits: Tensor, x: Tensor) -> Tensor:
        """−log p(x|z), nats, (B,)."""
        if self.likelihood == "bernoulli":
            return bernoulli_nll(logits, x)
        return gaussian_nll(logits.sigmoid(), self.log_scale, x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        mu, logvar = self.posterior(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        nll_nats = self.nll(self.decode_logits(z), x).mean()
        kl_nats = kl_standard_normal(mu, logvar).mean()
        return {
            "loss": nll_nats + self.beta * kl_nats,
            "elbo_nats": -(nll_nats + kl_nats),
            "nll_nats": nll_nats,
            "kl_nats": kl_nats,
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
