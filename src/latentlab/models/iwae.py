"""Importance weighted autoencoder: K codes instead of one make the bound tighter.

    L_K = E[log 1/K Σ_k p(x, z_k) / q(z_k|x)],   z_1 … z_K ~ q(z|x)
    ELBO = L_1 ≤ L_K ≤ L_{K+1} ≤ log p(x)          loss = −L_K

A posterior that misses a little is forgiven if one code in K explains the image; so it keeps more
of its units in use.

Burda et al. 2016, "Importance weighted autoencoders", eq. 8 and theorem 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.pixels import PixelLikelihood
from latentlab.losses.variational import draw_weighted, iwae_bound
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay


class IWAE(LightningModule):
    """Fully connected; `samples` is K, `hidden` the encoder's widths, mirrored in the decoder.

    `binarize` "dynamic": each pixel is drawn anew as 0 or 1 at each use; None reads grey levels as
    probabilities. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "VAE"
    codes_are_normal = True  # the prior is N(0, I)

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        samples: int = 5,
        latent_dim: int = 50,
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        binarize: Literal["dynamic"] | None = "dynamic",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples is {samples}: the bound needs 1 code or more per image")
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        self.samples = samples
        channels, height, width = image_shape
        pixels = channels * height * width
        self.pixels = PixelLikelihood("bernoulli", binary=binarize is not None)
        self.encoder = mlp([pixels, *hidden, 2 * latent_dim], activation=activation)
        self.decoder = mlp([latent_dim, *reversed(hidden), pixels], activation=activation)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.pixels.mean(self.decode_logits(z))

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        """log p(x, z) − log q(z|x) of `samples` codes each, nats, (S, B); labels y unused."""
        z, log_ratio = draw_weighted(*self.posterior(x), samples)
        nll = self.pixels.nll(self.decode_logits(z.flatten(0, 1)), x.repeat(samples, 1, 1, 1))
        return log_ratio - nll.view(samples, -1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        log_w = self.log_weights(self.pixels.observe(x), y, self.samples)  # (K, B)
        bound_nats = iwae_bound(log_w).mean()
        return {"loss": -bound_nats, "iwae_nats": bound_nats, "elbo_nats": log_w.mean()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
