"""Sparse autoencoder: a wide code of which each image may use but little.

    l1:  z = relu(W_e x + b_e)   min Σ (x̂ − x)² + λ Σ_j |z_j|     ‖columns of W_d‖ = 1
    kl:  z = σ(W_e x + b_e)      min Σ (x̂ − x)² + λ Σ_j KL(ρ ‖ mean of z_j over the batch)
    both:  x̂ = W_d z + b_d

l1 is a Laplace prior on the code: z is small or zero for each image. Its columns have length 1, or
a small code with a large decoder would pay nothing. kl asks each unit to be on for a share ρ of the
images, and pulls up those that never are.

Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a sparse
code for natural images"; Ng 2011, "Sparse autoencoder" (lecture notes of CS294A), for the target
activation.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.losses.sparsity import bernoulli_kl, l1_norm
from latentlab.optimizers import adam_linear_decay

ON = {"l1": 0.0, "kl": 0.1}  # a unit is active above this


class SparseAE(LightningModule):
    """`units` D in the code (None: half as many as an image has numbers).

    `penalty`: "l1" or "kl", times `weight` λ; `rho`, the target of "kl", is a share in (0, 1).
    `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        units: int | None = None,
        penalty: Literal["l1", "kl"] = "l1",
        weight: float = 1.0,
        rho: float = 0.05,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight is {weight}: a penalty needs a weight ≥ 0")
        if not 0 < rho < 1:
            raise ValueError(f"rho is {rho}: a target activation lies in (0, 1), such as 0.05")
        pixels = math.prod(image_shape)
        units = max(1, pixels // 2) if units is None else units
        self.image_shape, self.latent_dim, self.lr = image_shape, units, lr
        self.penalty, self.weight, self.rho = penalty, weight, rho
        self.encoder = nn.Linear(pixels, units)
        self.decoder = nn.Linear(units, pixels)

    def encode(self, x: Tensor) -> Tensor:
        h = self.encoder(x.flatten(1))  # (B, D)
        return h.relu() if self.penalty == "l1" else h.sigmoid()

    def columns(self) -> Tensor:
        """W_d (C·H·W, D); under "l1" its columns have length 1."""
        weight = self.decoder.weight
        return F.normalize(weight, dim=0) if self.penalty == "l1" else weight

    def reconstruct_linearly(self, z: Tensor) -> Tensor:
        """x̂ as the objective sees it: it may leave [0, 1]."""
        return F.linear(z, self.columns(), self.decoder.bias).unflatten(1, self.image_shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.reconstruct_linearly(z).clamp(0, 1)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def dictionary(self) -> Tensor:
        """What each unit draws, (D, C, H, W)."""
        return self.columns().T.unflatten(1, self.image_shape)

    def active(self, z: Tensor) -> Tensor:
        """Which units are on, (B, D) bool."""
        return z > ON[self.penalty]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        sse = squared_error(self.reconstruct_linearly(z), x).mean()
        penalty = l1_norm(z).mean() if self.penalty == "l1" else bernoulli_kl(self.rho, z)
        return {
            "loss": sse + self.weight * penalty,
            "sse": sse,
            "l1" if self.penalty == "l1" else "kl_target_nats": penalty,
            "mean_activation": z.mean(),
            "inactive_share": 1 - self.active(z).float().mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
