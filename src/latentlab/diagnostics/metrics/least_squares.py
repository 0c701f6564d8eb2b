"""The best affine map from one set of images to another, by least squares.

min_{A, b}  Σ_n ‖A x_n + b − y_n‖² + ridge · N ‖A‖²
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError

MAX_INPUTS = 4096  # P; (P + 1)² float64 values, and solving for them, become expensive above it
RIDGE = 1e-6  # of a mean square of 1 per pixel: it only makes the normal equations solvable


@dataclass(frozen=True)
class LeastSquares:
    """y ≈ A x + b of images with P and Q values: `weight` A (Q, P) and `bias` b (Q,), float32.

    `image_shape`: the shape of y without the batch.
    """

    weight: Tensor
    bias: Tensor
    image_shape: tuple[int, ...]

    @classmethod
    def fit(cls, pairs: Iterable[tuple[Tensor, Tensor]], *, ridge: float = RIDGE) -> LeastSquares:
        """Solve the normal equations, summed in float64 over batches (x, y), each (B, C, H, W).

        Raises LatentlabError if there is no image.
        """
        sums: tuple[Tensor, Tensor] | None = None
        count = 0
        image_shape: tuple[int, ...] = ()
        for x, y in pairs:
            inputs = torch.cat([x.flatten(1), x.new_ones(len(x), 1)], dim=1)  # (B, P + 1)
            batch = (inputs.T @ inputs).double(), (inputs.T @ y.flatten(1)).double()
            sums = batch if sums is None else (sums[0] + batch[0], sums[1] + batch[1])
            count, image_shape = count + len(x), tuple(y.shape[1:])
        if sums is None:
            raise LatentlabError("no images to fit: pass at least one pair (x, y)")
        gram, cross = sums
        penalty = torch.full((len(gram),), ridge * count, dtype=torch.float64)
        penalty[-1] = 0  # no penalty of the bias
        solution = torch.linalg.solve(gram + penalty.diag(), cross).float()  # (P + 1, Q)
        return cls(solution[:-1].T.contiguous(), solution[-1], image_shape)

    def predict(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) → (B, *image_shape). Values may lie outside [0, 1]."""
        return (x.flatten(1) @ self.weight.T + self.bias).unflatten(1, self.image_shape)
