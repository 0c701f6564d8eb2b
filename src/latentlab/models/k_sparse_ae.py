"""k-sparse autoencoder: the code keeps only the k largest activations of each image.

    h = W_e x + b_e      z = h on its k largest values, else 0      x̂ = W_d z + b_d
    min Σ_pixels (x̂ − x)²

There is no penalty and no other nonlinearity: gradients pass only through the kept values. With
tied weights, W_d = W_eᵀ, encoding is one step of iterative hard thresholding for the dictionary
W_d. Training starts with a larger k, which falls to its final value in the first half, so that
fewer units stay unused. `features` are denser than the code: the α k largest activations minus the
next one, so that they are continuous where two units change their order.

Paper: Makhzani & Frey 2013, "k-Sparse autoencoders".
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.losses.sparsity import above_top_k, top_k
from latentlab.optim.adam import adam_linear_decay


class KSparseAE(LightningModule):
    """`latent_dim`: D units of the code; None: 1000, at most 4 for each value of the image.

    `k`: units kept; None: D/40, so 25 of 1000. `k_start`: k at the start of training; None: 4 k.
    `alpha`: `features` keep α k units. `tied`: the weights of the decoder are those of the encoder,
    transposed. `lr`: Adam's rate, falls linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int | None = None,
        k: int | None = None,
        k_start: int | None = None,
        alpha: float = 2.0,
        tied: bool = True,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        values = math.prod(image_shape)
        units = min(1000, 4 * values) if latent_dim is None else latent_dim
        k = max(1, units // 40) if k is None else k
        k_start = min(4 * k, units) if k_start is None else k_start
        if not 1 <= k <= k_start <= units:
            raise ValueError(
                f"k is {k} and k_start is {k_start}, latent_dim is {units}:"
                " choose 1 ≤ k ≤ k_start ≤ latent_dim"
            )
        if not 1 <= alpha * k < units:
            raise ValueError(f"alpha · k is {alpha * k}: choose 1 ≤ alpha · k < latent_dim {units}")
        self.image_shape, self.latent_dim, self.lr = image_shape, units, lr
        self.k, self.k_start, self.k_features = k, k_start, round(alpha * k)
        self.encoder = nn.Linear(values, units)
        self.decoder = None if tied else nn.Linear(units, values, bias=False)
        self.offset = nn.Parameter(torch.zeros(values))  # b_d

    def activations(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # h, (B, D)

    def encode(self, x: Tensor) -> Tensor:
        return top_k(self.activations(x), self.k)  # (B, D)

    def features(self, x: Tensor) -> Tensor:
        return above_top_k(self.activations(x), self.k_features)  # (B, D)

    def columns(self) -> Tensor:
        """W_d, (C·H·W, D)."""
        return self.encoder.weight.T if self.decoder is None else self.decoder.weight

    def decode_unclipped(self, z: Tensor) -> Tensor:
        """x̂ as in the loss: values may leave [0, 1]."""
        return F.linear(z, self.columns(), self.offset).unflatten(1, self.image_shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_unclipped(z).clamp(0, 1)  # (B, C, H, W)

    def dictionary(self) -> Tensor:
        return self.columns().T.unflatten(1, self.image_shape)  # (D, C, H, W)

    def active(self, z: Tensor) -> Tensor:
        return z != 0  # (B, D)

    def loss(self, x: Tensor, k: int) -> dict[str, Tensor]:
        z = top_k(self.activations(x), k)
        sse = squared_error(self.decode_unclipped(z), x).mean()
        active = self.active(z).float()
        return {
            "loss": sse,
            "sse": sse,
            "inactive_fraction": 1 - active.mean(),
            "mean_activation": z.mean(),
            "dead_unit_fraction": (active.sum(0) == 0).float().mean(),
        }

    def scheduled_k(self) -> int:
        """From k_start to k, linearly over the first half of training, then k."""
        done = self.trainer.global_step / int(self.trainer.estimated_stepping_batches)
        return round(self.k_start + (self.k - self.k_start) * min(1.0, 2 * done))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], self.scheduled_k())

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], self.k)

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
