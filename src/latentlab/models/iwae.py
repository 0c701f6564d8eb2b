"""Importance weighted autoencoder: a tighter bound of log p(x), from K codes instead of one.

    L_K  = E[log 1/K Σ_k p(x, z_k) / q(z_k|x)],   z_1 … z_K ~ q(z|x)
    ELBO = L_1 ≤ L_K ≤ L_{K+1} ≤ log p(x)          loss = −L_K

The bound is good if one of the K codes explains the image. So the posterior may be less exact than
the ELBO demands, and more units of the code stay active.

Paper: Burda et al. 2016, "Importance weighted autoencoders", arXiv:1509.00519, eq. 8, theorem 1.
"""

from __future__ import annotations

from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.pixel_likelihood import PixelLikelihood
from latentlab.losses.variational import iwae_bound, sample_weighted
from latentlab.networks.mlp import MLP
from latentlab.networks.network import Network
from latentlab.optim.adam import adam_linear_decay


class IWAE(LightningModule):
    """`num_samples` is K. `network` builds encoder and decoder; the decoder's outputs are logits.

    `binarize` "dynamic" samples each pixel as 0 or 1, anew at each use, with its grey level as
    probability (Salakhutdinov & Murray 2008); None scores the grey levels. `lr`: Adam's learning
    rate, decays linearly to 0.
    """

    family = "VAE"
    standard_normal_prior = True

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        num_samples: int = 5,
        latent_dim: int = 50,
        network: Network = MLP((200, 200), activation="tanh"),
        binarize: Literal["dynamic"] | None = "dynamic",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}: the bound needs 1 code or more")
        self.num_samples, self.latent_dim, self.lr = num_samples, latent_dim, lr
        self.likelihood = PixelLikelihood("bernoulli", binary=binarize is not None)
        self.encoder, self.decoder = network.build(image_shape, latent_dim, outputs_per_latent=2)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))

    features = encode

    def log_weights(self, x: Tensor, y: Tensor, num_samples: int) -> Tensor:
        """log p(x, z) − log q(z|x) of S codes for each image, nats, (S, B); y is not used."""
        z, log_ratio = sample_weighted(*self.posterior(x), num_samples)  # (S, B, D), (S, B)
        x = x.repeat(num_samples, 1, 1, 1)
        nll = self.likelihood.nll(self.decoder(z.flatten(0, 1)), x)
        return log_ratio - nll.view(num_samples, -1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        log_w = self.log_weights(self.likelihood.observe(x), y, self.num_samples)  # (K, B)
        bound_nats = iwae_bound(log_w).mean()
        return {"loss": -bound_nats, "iwae_nats": bound_nats, "elbo_nats": log_w.mean()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch)

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
