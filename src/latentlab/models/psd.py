"""Predictive sparse decomposition: learn a dictionary, and an encoder that guesses its codes.

    z* = argmin_z  E(x, z) = ½ ‖x − B z‖² + λ ‖z‖₁ + α/2 ‖z − f(x)‖²        f(x) = g · tanh(W x + b)
    then one step on E(x, z*) in B, W, b and g;  ‖columns of B‖ ≤ 1

Sparse coding answers with an optimization per image; here a feed-forward encoder is trained
to predict its answer, and the answer is kept predictable. z* is found by a few steps of FISTA that
start at the prediction; `encode` is the prediction, `infer` the optimization.

Kavukcuoglu, Ranzato & LeCun 2008, "Fast inference in sparse coding algorithms with applications to
object recognition"; FISTA: Beck & Teboulle 2009.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.losses.sparse_coding import SparseProblem, fista
from latentlab.optimizers import adam_linear_decay


class PSD(LightningModule):
    """`units` D in the code (None: as many as an image has numbers, at most 256).

    `l1` λ ≥ 0 and `pull` α ≥ 0 as above; `steps` of FISTA an image in training. `lr`: Adam's rate,
    falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        units: int | None = None,
        l1: float = 0.1,
        pull: float = 1.0,
        steps: int = 20,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if l1 < 0 or pull < 0:
            raise ValueError(f"l1 is {l1} and pull {pull}: both are weights and must be ≥ 0")
        if steps < 1:
            raise ValueError(f"steps is {steps}: FISTA needs 1 or more")
        pixels = math.prod(image_shape)
        units = min(pixels, 256) if units is None else units
        self.image_shape, self.latent_dim, self.lr = image_shape, units, lr
        self.l1, self.pull, self.steps = l1, pull, steps
        self.basis = nn.Parameter(torch.randn(pixels, units) / math.sqrt(pixels))  # B
        self.predictor = nn.Linear(pixels, units)
        self.gain = nn.Parameter(torch.ones(units))

    def encode(self, x: Tensor) -> Tensor:
        """f(x), (B, D): one layer."""
        return self.gain * self.predictor(x.flatten(1)).tanh()

    def infer(self, x: Tensor, *, steps: int, start: Tensor | None = None) -> Tensor:
        """The lasso's codes (B, D), α = 0, by FISTA from codes `start` (None: zeros)."""
        start = x.new_zeros(len(x), self.latent_dim) if start is None else start
        return fista(SparseProblem(self.columns(), self.l1), x.flatten(1), start, steps=steps)

    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """½ ‖x − B z‖² + λ ‖z‖₁, (B,): what `infer` minimises."""
        return SparseProblem(self.columns(), self.l1).energy(x.flatten(1), z)

    def columns(self) -> Tensor:
        """B (C·H·W, D) with columns no longer than 1."""
        return self.basis / self.basis.norm(dim=0).clamp_min(1)

    def dictionary(self) -> Tensor:
        """What each unit draws, (D, C, H, W)."""
        return self.columns().T.unflatten(1, self.image_shape)

    def active(self, z: Tensor) -> Tensor:
        """Which units are on, (B, D) bool; a tanh is never exactly 0."""
        return z.abs() > 0.05

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.columns().T).unflatten(1, self.image_shape).clamp(0, 1)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        problem = SparseProblem(self.columns(), self.l1, self.pull)
        pixels, predicted = x.flatten(1), self.encode(x)
        with torch.no_grad():
            z = fista(problem, pixels, predicted, predicted, steps=self.steps)
        return {
            "loss": problem.energy(pixels, z, predicted).mean(),
            "lasso_energy": problem.energy(pixels, z).mean(),
            "prediction_sq_error": (z - predicted).square().sum(1).mean(),
            "inactive_share": (z == 0).float().mean(),
            "sse": squared_error(self.decode(z), x).mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
