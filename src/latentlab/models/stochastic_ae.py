"""Stochastic decoder: the decoder computes a distribution over images, not one image.

    z = f(x)        loss = −Σ_pixels log p(x_i | z)
    discretized Gaussian   p(k) = mass of N(μ_i(z), σ²) on the bin of level k,  σ or σ_i(z)
    categorical            p(k) = softmax(V h_i(z) + b_i)_k  over 256 levels
    Bernoulli              p(1) = σ(l_i(z))  of a pixel that is 0 or 1

A Gaussian with fixed σ learns only its mean: up to rounding, the loss is the squared error. The
first two are distributions of the 256 levels of 8-bit pixels, so their bits per dimension can be
compared. They are the cost of an image whose code is known; the cost of the code is not included. A
Bernoulli is no distribution of grey pixels. Its bits are those of an image sampled in black and
white with its grey values as probabilities, and cannot be compared with the others.

Paper: Goodfellow et al. 2016, "Deep Learning", section 14.4.
Paper: van den Oord et al. 2016, "Pixel recurrent neural networks", arXiv:1601.06759 (categorical).
Paper: Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders",
arXiv:2006.13202 (learned scale).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.pixel_likelihood import PixelLikelihood, Scale, bits_per_dim, num_outputs
from latentlab.networks.mlp import mlp
from latentlab.optim.adam import adam_linear_decay


class StochasticAE(LightningModule):
    """Fully connected. `hidden`: widths of the encoder; the decoder mirrors them.

    `latent_dim` None: 32, but at most a fifth of the values of an image. `scale`, σ for images in
    [0, 1]: a number fixes it, None learns one for all pixels, "pixel" lets the decoder compute one
    for each pixel, above `min_scale`. A smaller one would fit the training images only.
    `pixel_fraction`: a training step scores this fraction of the pixels, a new random choice each
    time, and scales the loss up without bias: 256 logits a pixel are expensive. `lr`: Adam's
    learning rate, decays linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        likelihood: Literal["discretized_gaussian", "bernoulli", "categorical"],
        scale: Scale = None,
        latent_dim: int | None = None,
        hidden: Sequence[int] = (400,),
        min_scale: float = 0.02,
        pixel_fraction: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if not 0 < pixel_fraction <= 1:
            raise ValueError(f"pixel_fraction is {pixel_fraction}: it must be in (0, 1]")
        self.num_pixels = num_pixels = math.prod(image_shape)  # values: C · H · W
        self.image_shape, self.lr = image_shape, lr
        self.latent_dim = latent_dim or max(1, min(32, num_pixels // 5))
        self.num_scored = max(1, round(pixel_fraction * num_pixels))
        outputs = num_pixels * num_outputs(likelihood, scale)
        self.encoder = mlp([num_pixels, *hidden, self.latent_dim])
        self.decoder = mlp([self.latent_dim, *reversed(hidden), outputs])
        self.likelihood = PixelLikelihood(
            likelihood, scale=scale, min_scale=min_scale, num_pixels=num_pixels
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def decoder_outputs(self, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """Parameters of p(x|z) at the values with the indices `pixels`, (B, F, P, 1); None: all."""
        outputs = self.decoder(z).unflatten(1, (self.num_pixels, -1))  # (B, C·H·W, F)
        outputs = outputs if pixels is None else outputs[:, pixels]
        return outputs.movedim(2, 1).unsqueeze(3)

    def decode(self, z: Tensor) -> Tensor:
        return self._image(self.likelihood.mean(self.decoder_outputs(z)))

    def decode_std(self, z: Tensor) -> Tensor:
        """Standard deviation of each pixel given z, (B, C, H, W)."""
        return self._image(self.likelihood.std(self.decoder_outputs(z)))

    def sample_pixels(self, z: Tensor) -> Tensor:
        """One sample x ~ p(x|z), (B, C, H, W); the pixels are independent given z."""
        return self._image(self.likelihood.sample(self.decoder_outputs(z)))

    def _image(self, column: Tensor) -> Tensor:
        return column.flatten(1).unflatten(1, self.image_shape)  # (B, 1, C·H·W, 1) → (B, C, H, W)

    features = encode

    def nll(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """−log p(x|z), nats, (B,). `pixels` (P,): estimated from these values only, unbiased."""
        outputs = self.decoder_outputs(z, pixels)
        x = x.flatten(1) if pixels is None else x.flatten(1)[:, pixels]
        nll = self.likelihood.nll(outputs, x[:, None, :, None], pixels)
        return nll * (self.num_pixels / x.shape[1])

    def loss(self, x: Tensor, pixels: Tensor | None = None) -> dict[str, Tensor]:
        nll_nats = self.nll(x, self.encode(x), pixels).mean()
        prefix = "binary_" if self.likelihood.name == "bernoulli" else ""
        bits = bits_per_dim(nll_nats, self.num_pixels)
        return {"loss": nll_nats, "nll_nats": nll_nats, f"{prefix}bits_per_dim": bits}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        pixels = torch.randperm(self.num_pixels, device=x.device)[: self.num_scored]
        return self.loss(x, pixels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
