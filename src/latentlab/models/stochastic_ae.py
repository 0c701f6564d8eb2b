"""Stochastic decoder: a decoder that says how sure it is, by a distribution over images.

    z = f(x)        min −Σ_pixels log p(x_i | z)
    Gaussian        p(k) = mass of N(μ_i(z), σ²) on the bin of level k,  σ fixed, shared or σ_i(z)
    categorical     p(k) = softmax(V h_i(z) + b_i)_k,  256 levels: any shape
    Bernoulli       p(white) = σ(l_i(z)),  of a pixel that is black or white

With σ fixed, the Gaussian's only output is its mean: the squared error, but for the rounding. The
first two are masses over the 256 levels of 8-bit pixels, so their bits per dimension compare: what
an image costs once its code is known (the code's own cost is not in them). A Bernoulli is no
distribution of grey pixels: its bits are those of the image drawn in black and white with its
grey values as the odds, and compare with nothing else here.

Goodfellow et al. 2016, "Deep Learning", section 14.4; the categorical: van den Oord et al. 2016,
"Pixel recurrent neural networks"; the learned scale: Rybkin et al. 2021, "Simple and effective VAE
training with calibrated decoders".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.levels import (
    LEVELS,
    BernoulliPixels,
    CategoricalPixels,
    GaussianPixels,
    PixelDistribution,
    bits_per_dim,
)
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam_linear_decay

OUTPUTS = 8  # numbers h_i per pixel, from which V makes 256 logits
AT_ONCE = 128  # pixels whose distributions are in memory together


class StochasticAE(LightningModule):
    """Fully connected; `hidden` are the encoder's widths, mirrored in the decoder.

    `latent_dim` None: 32, but at most a fifth of the image's numbers. `scale` is the Gaussian's σ,
    of images in [0, 1]: a number fixes it, "shared" learns one, "pixel" has the decoder say one
    for each pixel, above `least_scale`: a finer one only fits the training images. `share`: a
    training step scores this share of the pixels, drawn anew and scaled up without bias, which
    keeps 256 logits a pixel affordable. `lr`: Adam's, falling to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        likelihood: Literal["gaussian", "bernoulli", "categorical"],
        scale: float | Literal["shared", "pixel"] | None = None,
        latent_dim: int | None = None,
        hidden: Sequence[int] = (400,),
        least_scale: float = 0.02,
        share: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        _check(likelihood, scale, least_scale, share)
        self.least = math.log(least_scale)
        self.pixels = pixels = math.prod(image_shape)
        self.image_shape, self.likelihood, self.scale, self.lr = image_shape, likelihood, scale, lr
        self.latent_dim = latent_dim or max(1, min(32, pixels // 5))
        self.scored = max(1, round(share * pixels))
        outputs = {"categorical": OUTPUTS, "gaussian": 2 if scale == "pixel" else 1}
        sizes = [self.latent_dim, *reversed(hidden), pixels * outputs.get(likelihood, 1)]
        self.encoder = mlp([pixels, *hidden, self.latent_dim])
        self.decoder = mlp(sizes)
        if likelihood == "categorical":
            self.to_logits = nn.Linear(OUTPUTS, LEVELS, bias=False)  # V
            self.bias = nn.Parameter(torch.zeros(pixels, LEVELS))  # b
        elif likelihood == "gaussian":
            start = torch.tensor(math.log(scale if isinstance(scale, float) else 0.1))
            self.log_scale = nn.Parameter(start, requires_grad=not isinstance(scale, float))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def distribution(self, outputs: Tensor, places: Tensor) -> PixelDistribution:
        """p(x|z) at the pixels `places` (P,), from the decoder's outputs (B, C·H·W, F)."""
        outputs = outputs[:, places]
        if self.likelihood == "categorical":
            return CategoricalPixels(self.to_logits(outputs) + self.bias[places])
        if self.likelihood == "bernoulli":
            return BernoulliPixels(outputs[..., 0])
        mean = outputs[..., 0]  # black may lie far below 0: the outer bins hold the tails
        if self.scale != "pixel":
            return GaussianPixels(mean, self.log_scale)
        above = F.softplus(self.log_scale + outputs[..., 1] - self.least)
        return GaussianPixels(mean, self.least + above)

    def distributions(self, z: Tensor, places: Tensor | None = None) -> Iterator[PixelDistribution]:
        """p(x|z) of codes (B, D), a few pixels (B, ≤ 128) at a time; `places` None: all.

        Each is made when it is asked for: the 256 logits of all pixels would not fit into memory.
        """
        outputs = self.decoder(z).unflatten(1, (self.pixels, -1))
        places = torch.arange(self.pixels, device=z.device) if places is None else places
        return (self.distribution(outputs, some) for some in places.split(AT_ONCE))

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x|z); of the Gaussian its μ, clipped to [0, 1] as its draws are."""
        return self._image(part.mean for part in self.distributions(z)).clamp(0, 1)

    def decode_std(self, z: Tensor) -> Tensor:
        """The standard deviation of each pixel, (B, C, H, W)."""
        return self._image(part.std for part in self.distributions(z))

    def sample_pixels(self, z: Tensor) -> Tensor:
        """One draw x ~ p(x|z), (B, C, H, W): every pixel on its own."""
        return self._image(part.sample() for part in self.distributions(z))

    def _image(self, parts: Iterable[Tensor]) -> Tensor:
        return torch.cat([*parts], 1).unflatten(1, self.image_shape)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def nll(self, x: Tensor, places: Tensor) -> Tensor:
        """−log p(x|z) in nats, (B,), estimated from the pixels `places`, exact if these are all."""
        parts = self.distributions(self.encode(x), places)
        targets = x.flatten(1)[:, places].split(AT_ONCE, dim=1)
        sums = [part.log_prob(t).sum(1) for part, t in zip(parts, targets, strict=True)]
        return -torch.stack(sums).sum(0) * (self.pixels / len(places))

    def loss(self, x: Tensor, places: Tensor) -> dict[str, Tensor]:
        nll_nats = self.nll(x, places).mean()
        unit = "binary_bits_per_dim" if self.likelihood == "bernoulli" else "bits_per_dim"
        return {
            "loss": nll_nats,
            "nll_nats": nll_nats,
            unit: bits_per_dim(nll_nats, self.pixels),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        places = torch.randperm(self.pixels, device=x.device)[: self.scored]
        return self.loss(x, places)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        return self.loss(x, torch.arange(self.pixels, device=x.device))

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)


def _check(likelihood: str, scale: float | str | None, least_scale: float, share: float) -> None:
    """Refuse what no distribution has."""
    if least_scale <= 0:
        raise ValueError(
            f"least_scale is {least_scale}: a standard deviation must be > 0, in parts of the range"
            " from black to white"
        )
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it is a share of the pixels and must be in (0, 1]")
    if likelihood != "gaussian" and scale is not None:
        raise ValueError(f"scale is {scale!r}, but a {likelihood} pixel has none: leave it null")
    if likelihood == "gaussian" and not (
        scale in ("shared", "pixel") or (isinstance(scale, float) and 0 < scale < math.inf)
    ):
        raise ValueError(
            f"scale is {scale!r}: a Gaussian needs a standard deviation > 0 to keep, such as 0.1,"
            " or one to learn: 'shared' or 'pixel'"
        )
