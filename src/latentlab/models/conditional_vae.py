"""Conditional VAE: encoder and decoder get the class, the code describes the rest of the image.

    −ELBO = E_q[−log p(x|z, y)] + KL(q(z|x, y) ‖ N(0, I))  ≥  −log p(x|y)

A code is z followed by the one-hot class y. An image without a label gets the class with the best
bound. This is Bayes' rule with equally frequent classes, and with log p(x|y) replaced by its bound
at the posterior mean.

Paper: Sohn et al. 2015, "Learning structured output representation using deep conditional
generative models", eq. 4, with the class as condition.
Paper: Kingma et al. 2014, "Semi-supervised learning with deep generative models", model M2, eq. 6,
with all labels known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, LatentSampler
from latentlab.losses.pixel_likelihood import PixelLikelihood
from latentlab.losses.variational import (
    elbo_terms,
    kl_standard_normal,
    reparameterize,
    sample_weighted,
)
from latentlab.networks.mlp import mlp
from latentlab.optim.adam import adam_linear_decay
from latentlab.samplers import ClassConditional, with_class


class ConditionalVAE(LightningModule):
    """Fully connected. `noise_dim`: units of z. `hidden`: widths of the encoder, mirrored in the
    decoder.

    `prior` must be a samplers.ClassConditional; the model sets its `num_classes`. `binarize` and
    `lr` as for the VAE. Raises ValueError for data without labels (`num_classes` < 2).
    """

    family = "VAE"

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: LatentSampler | None = None,
        noise_dim: int = 20,
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        binarize: Literal["dynamic"] | None = None,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"the data have {num_classes} classes, and a conditional model needs labels of 2"
                " classes or more: choose the model vae, or data with labels"
            )
        if prior is not None and not isinstance(prior, ClassConditional):
            raise ValueError(
                f"the sampler is {type(prior).__name__}, whose codes contain no class: set the"
                " sampler's class_path to latentlab.samplers.ClassConditional"
            )
        if prior is not None:
            prior.num_classes = num_classes
        self.image_shape, self.num_classes, self.lr = image_shape, num_classes, lr
        self.noise_dim, self.latent_dim = noise_dim, noise_dim + num_classes
        channels, height, width = image_shape
        num_pixels = channels * height * width
        self.likelihood = PixelLikelihood("bernoulli", binary=binarize is not None)
        self.encoder = mlp(
            [num_pixels + num_classes, *hidden, 2 * noise_dim], activation=activation
        )
        self.decoder = mlp([self.latent_dim, *reversed(hidden), num_pixels], activation=activation)

    def posterior_given(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """q(z|x, y) of images and labels y (B,): (mu, logvar), (B, noise_dim) each."""
        x_and_y = torch.cat([x.flatten(1), self._onehot(y)], 1)
        mu, logvar = self.encoder(x_and_y).chunk(2, dim=1)
        return mu, logvar

    def encode(self, x: Tensor) -> Tensor:
        """Posterior mean and one-hot class, (B, D); the class is the one with the best bound."""
        y = self.class_bounds(x).argmax(1)
        return torch.cat([self.posterior_given(x, y)[0], self._onehot(y)], 1)

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decode_logits(z))

    def condition(self, z: Tensor, y: Tensor) -> Tensor:
        """Codes z (B, D) with the classes y (B,), int64, in place of their own."""
        return with_class(z, y, self.num_classes)

    def features(self, x: Tensor) -> Tensor:
        """The posterior mean without the class, (B, noise_dim)."""
        return self.encode(x)[:, : self.noise_dim]

    def class_bounds(self, x: Tensor) -> Tensor:
        """log p(x|mu, y) − KL(q(z|x, y) ‖ N(0, I)) for every class y, nats, (B, K)."""
        columns = []
        for label in range(self.num_classes):
            y = torch.full((len(x),), label, device=x.device)
            mu, logvar = self.posterior_given(x, y)
            nll = self.likelihood.nll(self.decode_logits(torch.cat([mu, self._onehot(y)], 1)), x)
            columns.append(-nll - kl_standard_normal(mu, logvar))
        return torch.stack(columns, 1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = self.likelihood.observe(batch[0]), batch[1]
        mu, logvar = self.posterior_given(x, y)
        z = torch.cat([reparameterize(mu, logvar), self._onehot(y)], 1)
        nll = self.likelihood.nll(self.decode_logits(z), x)
        return elbo_terms(nll, kl_standard_normal(mu, logvar))

    def log_weights(self, x: Tensor, y: Tensor, num_samples: int) -> Tensor:
        """log p(x, z|y) − log q(z|x, y) of S codes for each image, nats, (S, B)."""
        z, log_ratio = sample_weighted(*self.posterior_given(x, y), num_samples)
        codes = torch.cat([z, self._onehot(y).expand(num_samples, -1, -1)], 2)  # (S, B, D)
        x = x.repeat(num_samples, 1, 1, 1)
        nll = self.likelihood.nll(self.decode_logits(codes.flatten(0, 1)), x)
        return log_ratio - nll.view(num_samples, -1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        correct = (self.class_bounds(x).argmax(1) == y).float().mean()
        return {**self.loss(batch), "class_accuracy": correct}

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)

    def _onehot(self, y: Tensor) -> Tensor:
        return F.one_hot(y, self.num_classes).to(self.dtype)
