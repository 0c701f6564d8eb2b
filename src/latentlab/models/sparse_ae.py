"""Sparse autoencoder: a wide code of which each image uses only a few units.

    l1:  z = relu(W_e x + b_e)   min Σ (x̂ − x)² + λ Σ_j |z_j|     ‖columns of W_d‖ = 1
    kl:  z = σ(W_e x + b_e)      min Σ (x̂ − x)² + λ Σ_j KL(ρ ‖ mean of z_j over the batch)
    both:  x̂ = W_d z + b_d

l1 is a Laplace prior on the code: most z_j are 0 for each image. The columns of W_d have length 1,
because a small code with a large decoder would make the penalty 0. kl asks each unit to be active
for a fraction ρ of the images, so it also activates units that would never be used.

Paper: Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a
sparse code for natural images".
Paper: Ng 2011, "Sparse autoencoder", lecture notes of CS294A, for the target activation.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.losses.sparsity import bernoulli_kl, l1_norm
from latentlab.optim.adam import adam_linear_decay

ACTIVE_ABOVE = {"l1": 0.0, "kl": 0.1}


class SparseAE(LightningModule):
    """`latent_dim`: D units of the code; None: half the number of values of the image.

    `penalty`: "l1" or "kl"; `penalty_weight`: λ ≥ 0; `rho`: ρ of "kl", in (0, 1). `lr`: Adam's
    rate, falls linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int | None = None,
        penalty: Literal["l1", "kl"] = "l1",
        penalty_weight: float = 1.0,
        rho: float = 0.05,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if penalty_weight < 0:
            raise ValueError(f"penalty_weight is {penalty_weight}: it must be ≥ 0")
        if not 0 < rho < 1:
            raise ValueError(f"rho is {rho}: a target activation lies in (0, 1), such as 0.05")
        values = math.prod(image_shape)
        self.latent_dim = max(1, values // 2) if latent_dim is None else latent_dim
        self.image_shape, self.lr = image_shape, lr
        self.penalty, self.penalty_weight, self.rho = penalty, penalty_weight, rho
        self.encoder = nn.Linear(values, self.latent_dim)
        self.decoder = nn.Linear(self.latent_dim, values)

    def encode(self, x: Tensor) -> Tensor:
        h = self.encoder(x.flatten(1))  # (B, D)
        return h.relu() if self.penalty == "l1" else h.sigmoid()

    features = encode

    def columns(self) -> Tensor:
        """W_d (C·H·W, D); for "l1" its columns have length 1."""
        weight = self.decoder.weight
        return F.normalize(weight, dim=0) if self.penalty == "l1" else weight

    def decode_unclipped(self, z: Tensor) -> Tensor:
        """x̂ as in the loss: values may leave [0, 1]."""
        return F.linear(z, self.columns(), self.decoder.bias).unflatten(1, self.image_shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_unclipped(z).clamp(0, 1)  # (B, C, H, W)

    def dictionary(self) -> Tensor:
        return self.columns().T.unflatten(1, self.image_shape)  # (D, C, H, W)

    def active(self, z: Tensor) -> Tensor:
        return z > ACTIVE_ABOVE[self.penalty]  # (B, D)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        sse = squared_error(self.decode_unclipped(z), x).mean()
        penalty = l1_norm(z).mean() if self.penalty == "l1" else bernoulli_kl(self.rho, z)
        return {
            "loss": sse + self.penalty_weight * penalty,
            "sse": sse,
            "l1" if self.penalty == "l1" else "kl_target_nats": penalty,
            "mean_activation": z.mean(),
            "inactive_fraction": 1 - self.active(z).float().mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
