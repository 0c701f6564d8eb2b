"""VQ-VAE: the code is a grid of indices, each of the nearest vector in a learned codebook.

    i_p = argmin_k ‖z_e(x)_p − e_k‖²  at each position p      x̂ = g(e_i)
    loss = −log p(x|e_i) + ‖sg[z_e] − e_i‖² + β ‖z_e − sg[e_i]‖²

sg stops the gradient. The decoder's gradient is copied from e_i to z_e (straight-through). The KL
to the uniform prior is a constant, positions × log K, and is not in the loss. Which indices occur
together is learned after the training, by the sampler. A code consists of whole numbers. Two codes
are interpolated along the vectors of their indices.

Differs from the paper: batch normalization before the codebook, where the paper quantizes raw
feature maps. More vectors of the codebook stay in use.

Paper: van den Oord et al. 2017, "Neural discrete representation learning", arXiv:1711.00937,
eqs. 1–3.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.pixel_likelihood import Likelihood, PixelLikelihood, Scale
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.conv import halvings, pyramid
from latentlab.optim.adam import adam_linear_decay


class VQVAE(LightningModule):
    """`codebook_size` K vectors of `embedding_dim` elements; the grid has 4 to 7 positions a side.

    `width`: channels after the first halving, doubled at each further one. `likelihood` and `scale`
    as for losses.pixel_likelihood.PixelLikelihood. `commitment` is β. The encoder's last feature
    maps are normalized over the batch: they start with the distribution of the codebook's initial
    vectors, so few vectors stay unused. `lr`: Adam's learning rate, decays linearly to 0.
    """

    family = "VAE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        codebook_size: int = 128,
        embedding_dim: int = 16,
        width: int = 32,
        likelihood: Likelihood = "bernoulli",
        scale: Scale = None,
        commitment: float = 0.25,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if codebook_size < 2:
            raise ValueError(f"codebook_size is {codebook_size}: it must be ≥ 2")
        if commitment < 0:
            raise ValueError(f"commitment is {commitment}: it must be ≥ 0")
        levels, self.side = pyramid(image_shape)
        self.latent_dim, self.codebook_size = self.side**2, codebook_size
        self.commitment, self.lr = commitment, lr
        self.likelihood = PixelLikelihood(likelihood, scale=scale)
        trunk, channels = halvings(image_shape[0], levels, width)
        last = nn.Conv2d(channels, embedding_dim, 1), nn.BatchNorm2d(embedding_dim, affine=False)
        self.encoder = nn.Sequential(trunk, *last)
        self.codebook = nn.Parameter(torch.randn(codebook_size, embedding_dim))
        outputs = self.likelihood.output_shape(image_shape)[0]
        widths = [width * 2**level for level in range(levels)]
        self.decoder = doublings(embedding_dim, widths, outputs)

    def quantize(self, maps: Tensor) -> Tensor:
        """Feature maps (B, E, s, s) → indices of the nearest vectors, row by row, (B, D)."""
        positions = maps.movedim(1, 3).flatten(1, 2)  # (B, D, E)
        # ‖z − e‖² without ‖z‖², which is the same for all vectors
        distance = self.codebook.square().sum(1) - 2 * positions @ self.codebook.T  # (B, D, K)
        return distance.argmin(2)

    def embed(self, indices: Tensor) -> Tensor:
        """Indices (B, D), int64 → their vectors as feature maps (B, E, s, s)."""
        # not codebook[indices]: on several CPU threads its gradient is summed in any order
        vectors = F.embedding(indices, self.codebook)  # (B, D, E)
        return vectors.unflatten(1, (self.side, self.side)).movedim(3, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Indices as whole numbers in float32, (B, D)."""
        return self.quantize(self.encoder(x)).float()

    def decode(self, z: Tensor) -> Tensor:
        """Indices (B, D), rounded and clipped to 0 … K − 1, → images."""
        indices = z.round().long().clamp(0, self.codebook_size - 1)
        return self.likelihood.mean(self.decoder(self.embed(indices)))

    def interpolate(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:
        """Indices (B, D) → those nearest to the vectors on the line from a's to b's."""
        vectors = torch.lerp(self.embed(a.long()), self.embed(b.long()), fraction)
        return self.quantize(vectors).float()

    def features(self, x: Tensor) -> Tensor:
        """The codebook vectors of the indices, (B, E · D)."""
        return self.embed(self.quantize(self.encoder(x))).flatten(1)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z_e = self.encoder(x)
        indices = self.quantize(z_e)
        e_i = self.embed(indices)
        straight_through = z_e + (e_i - z_e).detach()  # value of e_i, gradient to z_e
        nll_nats = self.likelihood.nll(self.decoder(straight_through), x).mean()
        codebook_loss = squared_error(e_i, z_e.detach()).mean()
        commitment_loss = squared_error(z_e, e_i.detach()).mean()
        return {
            "loss": nll_nats + codebook_loss + self.commitment * commitment_loss,
            "nll_nats": nll_nats,
            "codebook_loss": codebook_loss,
            "perplexity": self.perplexity(indices),
        }

    def perplexity(self, indices: Tensor) -> Tensor:
        """exp of the entropy of the frequencies of all indices; K if all are equally frequent."""
        counts = torch.bincount(indices.flatten(), minlength=self.codebook_size)
        return torch.special.entr(counts / indices.numel()).sum().exp()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)


def doublings(channels: int, widths: list[int], outputs: int) -> nn.Sequential:
    """Feature maps (B, channels, s, s) → (B, outputs, s · 2^L, s · 2^L), L = len(widths).

    `widths`: channels at each size, largest size first.
    """
    inner = widths[-1]
    blocks: list[nn.Module] = [nn.Conv2d(channels, inner, 3, padding=1, bias=False)]
    for fan_in, fan_out in itertools.pairwise(reversed(widths)):
        blocks += [nn.BatchNorm2d(fan_in), nn.SiLU()]
        blocks.append(nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False))
    blocks += [nn.BatchNorm2d(widths[0]), nn.SiLU()]
    return nn.Sequential(*blocks, nn.ConvTranspose2d(widths[0], outputs, 4, stride=2, padding=1))
