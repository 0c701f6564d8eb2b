"""Conditional VAE: the decoder is told the class, the code holds what the class leaves open.

    −ELBO = E_q[−log p(x|z, y)] + KL(q(z|x, y) ‖ N(0, I))  ≥  −log p(x|y)

A code is z followed by the one-hot class. An image without a label gets the class under which its
bound is best: Bayes' rule with equal classes, log p(x|y) replaced by its bound at the mean code.

Sohn et al. 2015, "Learning structured output representation using deep conditional generative
models", eq. 4 with the class as condition; model M2 of Kingma et al. 2014, "Semi-supervised
learning with deep generative models", eq. 6, where every label is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.losses.divergences import kl_standard_normal
from latentlab.losses.pixels import PixelLikelihood
from latentlab.losses.variational import draw_weighted, elbo_terms, reparameterize
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay
from latentlab.priors import Conditional


class ConditionalVAE(LightningModule):
    """Fully connected; `noise_dim` numbers of z beside the class; `hidden` as of the VAE.

    Raises ValueError for data without labels (`num_classes` < 2).
    """

    family = "VAE"

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: Sampler | None = None,
        noise_dim: int = 20,
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        binarize: Literal["dynamic"] | None = None,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"a conditional model needs labels of 2 classes or more, and the data have"
                f" {num_classes}: take the model vae, or data with labels"
            )
        if prior is not None and not isinstance(prior, Conditional):
            raise ValueError(
                f"the sampler is {type(prior).__name__}, which draws no classes: name"
                " latentlab.priors.Conditional as the sampler's class_path"
            )
        if prior is not None:
            prior.num_classes = num_classes
        self.image_shape, self.num_classes, self.lr = image_shape, num_classes, lr
        self.noise_dim, self.latent_dim = noise_dim, noise_dim + num_classes
        channels, height, width = image_shape
        pixels = channels * height * width
        self.pixels = PixelLikelihood("bernoulli", binary=binarize is not None)
        self.encoder = mlp([pixels + num_classes, *hidden, 2 * noise_dim], activation=activation)
        self.decoder = mlp([self.latent_dim, *reversed(hidden), pixels], activation=activation)

    def posterior_given(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """q(z|x, y) of labels (B,): (mu, logvar), (B, noise_dim) each."""
        told = torch.cat([x.flatten(1), self._onehot(y)], 1)
        mu, logvar = self.encoder(told).chunk(2, dim=1)
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        """(mu, one-hot class), the class being the one with the best bound, (B, D)."""
        y = self.class_bounds(x).argmax(1)
        return torch.cat([self.posterior_given(x, y)[0], self._onehot(y)], 1)

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.pixels.mean(self.decode_logits(z))

    def features(self, x: Tensor) -> Tensor:
        """z alone: how much of the class is left in it."""
        return self.encode(x)[:, : self.noise_dim]

    def class_bounds(self, x: Tensor) -> Tensor:
        """log p(x|mu, y) − KL(q(z|x, y) ‖ N(0, I)) for every class y, nats, (B, K)."""
        columns = []
        for label in range(self.num_classes):
            y = torch.full((len(x),), label, device=x.device)
            mu, logvar = self.posterior_given(x, y)
            nll = self.pixels.nll(self.decode_logits(torch.cat([mu, self._onehot(y)], 1)), x)
            columns.append(-nll - kl_standard_normal(mu, logvar))
        return torch.stack(columns, 1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = self.pixels.observe(batch[0]), batch[1]
        mu, logvar = self.posterior_given(x, y)
        z = torch.cat([reparameterize(mu, logvar), self._onehot(y)], 1)
        nll = self.pixels.nll(self.decode_logits(z), x)
        return elbo_terms(nll, kl_standard_normal(mu, logvar))

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        """log p(x, z|y) − log q(z|x, y) of `samples` codes each, nats, (S, B)."""
        z, log_ratio = draw_weighted(*self.posterior_given(x, y), samples)
        codes = torch.cat([z, self._onehot(y).expand(samples, -1, -1)], 2)
        nll = self.pixels.nll(self.decode_logits(codes.flatten(0, 1)), x.repeat(samples, 1, 1, 1))
        return log_ratio - nll.view(samples, -1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        right = (self.class_bounds(x).argmax(1) == y).float().mean()
        return {**self.loss(batch), "class_accuracy": right}

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)

    def _onehot(self, y: Tensor) -> Tensor:
        return F.one_hot(y, self.num_classes).to(self.dtype)
