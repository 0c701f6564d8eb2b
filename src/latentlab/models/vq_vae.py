"""VQ-VAE: the code is a sheet of symbols, each the name of the nearest vector in a learned book.

    s = argmin_k ‖z_e(x) − e_k‖²  at each place      x̂ = g(e_s)
    loss = −log p(x|e_s) + ‖sg[z_e] − e_s‖² + β ‖z_e − sg[e_s]‖²

sg stops the gradient; that of the decoder passes from e_s to z_e unchanged (straight through). The
KL to the uniform prior is a constant, places × log K; which symbols go together is learned
afterwards, by the sampler. A code is whole numbers; the way between two leads along the vectors
that they name.

van den Oord et al. 2017, "Neural discrete representation learning", eqs. 1–3.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.pixels import PixelLikelihood
from latentlab.nets.conv import pyramid
from latentlab.nets.pyramids import halvings
from latentlab.optimizers import adam_linear_decay


class VQVAE(LightningModule):
    """`symbols` K vectors of `depth` numbers; the sheet has 4 to 7 places a side.

    `width`: channels of the widest map, doubled at each halving. `commitment` is β. The encoder's
    last maps are normalised over the batch, so that they start where the book's vectors do, and
    few symbols stay unused. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "VAE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        symbols: int = 128,
        depth: int = 16,
        width: int = 32,
        likelihood: Literal["bernoulli", "gaussian", "categorical"] = "bernoulli",
        scale: float | None = None,
        commitment: float = 0.25,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if symbols < 2 or commitment < 0:
            raise ValueError(f"symbols {symbols} must be ≥ 2 and commitment {commitment} ≥ 0")
        levels, self.side = pyramid(image_shape)
        self.latent_dim, self.symbols = self.side**2, symbols
        self.commitment, self.lr = commitment, lr
        self.pixels = PixelLikelihood(likelihood, scale=scale)
        trunk, channels = halvings(image_shape[0], levels, width)
        last = nn.Conv2d(channels, depth, 1), nn.BatchNorm2d(depth, affine=False)
        self.encoder = nn.Sequential(trunk, *last)
        self.book = nn.Parameter(torch.randn(symbols, depth))
        outputs = image_shape[0] * self.pixels.outputs
        self.decoder = doublings(depth, [width * 2**level for level in range(levels)], outputs)

    def quantize(self, maps: Tensor) -> Tensor:
        """Maps (B, E, s, s) → the nearest symbols, row by row, (B, D)."""
        places = maps.movedim(1, 3).flatten(1, 2)  # (B, D, E)
        distance = self.book.square().sum(1) - 2 * places @ self.book.T  # ‖z‖² is the same for all
        return distance.argmin(2)

    def look_up(self, symbols: Tensor) -> Tensor:
        """Symbols (B, D) → their vectors as maps (B, E, s, s)."""
        return self.book[symbols].unflatten(1, (self.side, self.side)).movedim(3, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Symbols as whole numbers in float32, (B, D)."""
        return self.quantize(self.encoder(x)).float()

    def decode(self, z: Tensor) -> Tensor:
        """Symbols (B, D); what is no whole number in 0 … K − 1 becomes the nearest."""
        symbols = z.round().long().clamp(0, self.symbols - 1)
        return self.pixels.mean(self.decoder(self.look_up(symbols)))

    def mix(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        """Symbols (B, D) → those nearest to the line between their vectors, at `share` of b."""
        vectors = torch.lerp(self.look_up(a.long()), self.look_up(b.long()), share)
        return self.quantize(vectors).float()

    def features(self, x: Tensor) -> Tensor:
        """The vectors that the symbols name."""
        return self.look_up(self.quantize(self.encoder(x))).flatten(1)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z_e = self.encoder(x)
        symbols = self.quantize(z_e.detach())
        e_s = self.look_up(symbols)
        through = z_e + (e_s - z_e).detach()  # e_s forward, the gradient of z_e backward
        nll_nats = self.pixels.nll(self.decoder(through), x).mean()
        book = (e_s - z_e.detach()).square().flatten(1).sum(1).mean()
        commitment = (z_e - e_s.detach()).square().flatten(1).sum(1).mean()
        used = torch.bincount(symbols.flatten(), minlength=self.symbols) / symbols.numel()
        return {
            "loss": nll_nats + book + self.commitment * commitment,
            "nll_nats": nll_nats,
            "book_error": book.detach(),
            "perplexity": torch.special.entr(used).sum().exp(),  # symbols in use, evenly counted
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)


def doublings(depth: int, widths: list[int], outputs: int) -> nn.Sequential:
    """Maps (B, depth, s, s) → (B, outputs, H, W), H = s · 2^levels; `widths` outermost first."""
    inner = widths[-1]
    blocks: list[nn.Module] = [nn.Conv2d(depth, inner, 3, padding=1, bias=False)]
    for fan_in, fan_out in itertools.pairwise(reversed(widths)):
        blocks += [nn.BatchNorm2d(fan_in), nn.SiLU()]
        blocks.append(nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False))
    blocks += [nn.BatchNorm2d(widths[0]), nn.SiLU()]
    return nn.Sequential(*blocks, nn.ConvTranspose2d(widths[0], outputs, 4, stride=2, padding=1))
