"""k-sparse autoencoder: only the k strongest of many units may speak, so each must mean something.

    h = W_e x + b_e      z = h on its k largest numbers, else 0      x̂ = W_d z + b_d
    min Σ_pixels (x̂ − x)²

No penalty, no nonlinearity but the choice itself: the gradient passes where the code does. With
tied weights W_d = W_eᵀ, encoding is a step of iterative hard thresholding on the dictionary W_d.
Training starts with a larger k and lowers it until its middle, so that few units are left unused.
`features` are denser than the code: the α k strongest units, less the next one, so that they do not
jump where two units change places.

Makhzani & Frey 2013, "k-Sparse autoencoders".
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.losses.sparsity import above_top_k, top_k
from latentlab.optimizers import adam_linear_decay


class KSparseAE(LightningModule):
    """`units` D in the code (None: 1000, but no more than four for each number of an image).

    `k` of them pass (None: one in forty, so 25 of 1000); `k_start` at the start of training, then
    falling to `k` at its middle (None: 4 k). `alpha`: α k units speak in `features`. `tied`: the
    decoder is the encoder's transpose. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        units: int | None = None,
        k: int | None = None,
        k_start: int | None = None,
        alpha: float = 2.0,
        tied: bool = True,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        units = min(1000, 4 * pixels) if units is None else units
        k = max(1, units // 40) if k is None else k
        k_start = min(4 * k, units) if k_start is None else k_start
        if not 1 <= k <= k_start <= units:
            raise ValueError(
                f"k = {k} and k_start = {k_start} of {units} units cannot pass:"
                " choose 1 ≤ k ≤ k_start ≤ units"
            )
        if not 1 <= alpha * k < units:
            raise ValueError(f"alpha · k = {alpha * k}: it must be ≥ 1 and below units ({units})")
        self.image_shape, self.latent_dim, self.lr = image_shape, units, lr
        self.k, self.k_start, self.k_features = k, k_start, round(alpha * k)
        self.encoder = nn.Linear(pixels, units)
        self.decoder = None if tied else nn.Linear(units, pixels, bias=False)
        self.offset = nn.Parameter(torch.zeros(pixels))  # b_d

    def activations(self, x: Tensor) -> Tensor:
        """h, (B, D): what all units would say."""
        return self.encoder(x.flatten(1))

    def encode(self, x: Tensor) -> Tensor:
        return top_k(self.activations(x), self.k)  # (B, D)

    def columns(self) -> Tensor:
        """W_d, (C·H·W, D)."""
        return self.encoder.weight.T if self.decoder is None else self.decoder.weight

    def reconstruct_linearly(self, z: Tensor) -> Tensor:
        """x̂ as the objective sees it: it may leave [0, 1]."""
        return F.linear(z, self.columns(), self.offset).unflatten(1, self.image_shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.reconstruct_linearly(z).clamp(0, 1)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        """By how much each of the α k strongest units exceeds the next, (B, D)."""
        return above_top_k(self.activations(x), self.k_features)

    def dictionary(self) -> Tensor:
        """What each unit draws, (D, C, H, W)."""
        return self.columns().T.unflatten(1, self.image_shape)

    def active(self, z: Tensor) -> Tensor:
        """Which units are on, (B, D) bool."""
        return z != 0

    def loss(self, x: Tensor, k: int) -> dict[str, Tensor]:
        z = top_k(self.activations(x), k)
        sse = squared_error(self.reconstruct_linearly(z), x).mean()
        on = self.active(z).float()
        return {
            "loss": sse,
            "sse": sse,
            "inactive_share": 1 - on.mean(),
            "mean_activation": z.mean(),
            "unused_in_batch_share": (on.sum(0) == 0).float().mean(),
        }

    def scheduled_k(self) -> int:
        """k_start … k in a straight line over the first half of training, then k."""
        done = self.trainer.global_step / int(self.trainer.estimated_stepping_batches)
        return round(self.k_start + (self.k - self.k_start) * min(1.0, 2 * done))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], self.scheduled_k())

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], self.k)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
