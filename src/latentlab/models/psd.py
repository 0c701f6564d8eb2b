"""Predictive sparse decomposition: a dictionary, and an encoder that predicts its sparse codes.

    z* = argmin_z  E(x, z) = ½ ‖x − B z‖² + λ ‖z‖₁ + α/2 ‖z − f(x)‖²        f(x) = g · tanh(W x + b)
    then one step on E(x, z*) in B, W, b and g;  ‖columns of B‖ ≤ 1

Sparse coding solves an optimization problem for each image. Here an encoder is trained to predict
the solution in one pass, and the last term keeps the solution near the prediction. z* is found by a
few steps of FISTA that start at the prediction. `encode` is the prediction, `infer` the
optimization.

Paper: Kavukcuoglu, Ranzato & LeCun 2008, "Fast inference in sparse coding algorithms with
applications to object recognition".
Paper: Beck & Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm", for FISTA.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.losses.sparsity import SparseProblem, fista
from latentlab.optim.adam import adam_linear_decay

ACTIVE_ABOVE = 0.05  # a predicted value is never exactly 0


class PSD(LightningModule):
    """`latent_dim`: D units of the code; None: the number of values of the image, at most 256.

    `l1_weight`: λ ≥ 0. `prediction_weight`: α ≥ 0. `steps`: steps of FISTA for each image in
    training. `lr`: Adam's rate, falls linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        latent_dim: int | None = None,
        l1_weight: float = 0.1,
        prediction_weight: float = 1.0,
        steps: int = 20,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if l1_weight < 0 or prediction_weight < 0:
            raise ValueError(
                f"l1_weight is {l1_weight} and prediction_weight is {prediction_weight}:"
                " both must be ≥ 0"
            )
        if steps < 1:
            raise ValueError(f"steps is {steps}: FISTA needs 1 or more")
        values = math.prod(image_shape)
        self.latent_dim = min(values, 256) if latent_dim is None else latent_dim
        self.image_shape, self.steps, self.lr = image_shape, steps, lr
        self.l1_weight, self.prediction_weight = l1_weight, prediction_weight
        self.basis = nn.Parameter(torch.randn(values, self.latent_dim) / math.sqrt(values))  # B
        self.predictor = nn.Linear(values, self.latent_dim)  # W, b
        self.gain = nn.Parameter(torch.ones(self.latent_dim))  # g

    def encode(self, x: Tensor) -> Tensor:
        return self.gain * self.predictor(x.flatten(1)).tanh()  # f(x), (B, D)

    features = encode

    def infer(self, x: Tensor, *, steps: int, start: Tensor | None = None) -> Tensor:
        """Minimize `energy` by FISTA, from the codes `start` (B, D), None: zeros."""
        start = x.new_zeros(len(x), self.latent_dim) if start is None else start
        problem = SparseProblem(self.columns(), self.l1_weight)
        return fista(problem, x.flatten(1), start, steps=steps)

    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """½ ‖x − B z‖² + λ ‖z‖₁, (B,)."""
        return SparseProblem(self.columns(), self.l1_weight).energy(x.flatten(1), z)

    def columns(self) -> Tensor:
        """B, (C·H·W, D), with columns no longer than 1."""
        return self.basis / self.basis.norm(dim=0).clamp_min(1)

    def dictionary(self) -> Tensor:
        return self.columns().T.unflatten(1, self.image_shape)  # (D, C, H, W)

    def active(self, z: Tensor) -> Tensor:
        return z.abs() > ACTIVE_ABOVE  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.columns().T).unflatten(1, self.image_shape).clamp(0, 1)  # (B, C, H, W)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        problem = SparseProblem(self.columns(), self.l1_weight, self.prediction_weight)
        pixels, predicted = x.flatten(1), self.encode(x)
        with torch.no_grad():
            z = fista(problem, pixels, predicted, predicted, steps=self.steps)
        return {
            "loss": problem.energy(pixels, z, predicted).mean(),
            "lasso_energy": problem.energy(pixels, z).mean(),
            "prediction_sq_error": (z - predicted).square().sum(1).mean(),
            "inactive_fraction": (z == 0).float().mean(),
            "sse": squared_error(self.decode(z), x).mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
