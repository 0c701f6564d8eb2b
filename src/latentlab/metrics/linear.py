"""The best affine map from one set of images to another, by least squares: what PCA is to a code.

min_{A, b}  Σ_n ‖A x_n + b − y_n‖² + ridge · N ‖A‖²
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError

MAX_INPUTS = 4096  # P; above, (P + 1)² numbers of float64 and their solution stop being small
RIDGE = 1e-6  # of a pixel's mean square 1: only there to make the normal equations solvable


@dataclass(frozen=True)
class LeastSquares:
    """y ≈ A x + b: `weight` A (Q, P) and `bias` b (Q,) float32; P, Q numbers of an image."""

    weight: Tensor
    bias: Tensor
    image_shape: tuple[int, ...]  # of y

    @classmethod
    def fit(cls, pairs: Iterable[tuple[Tensor, Tensor]], *, ridge: float = RIDGE) -> LeastSquares:
        """Solve the normal equations, summed in float64 over batches (x, y), each (B, C, H, W).

        Raises LatentlabError for no image.
        """
        sums: tuple[Tensor, Tensor] | None = None
        count = 0
        image_shape: tuple[int, ...] = ()
        for x, y in pairs:
            inputs = torch.cat([x.flatten(1), x.new_ones(len(x), 1)], dim=1)  # (B, P + 1)
            found = (inputs.T @ inputs).double(), (inputs.T @ y.flatten(1)).double()
            sums = found if sums is None else (sums[0] + found[0], sums[1] + found[1])
            count, image_shape = count + len(x), tuple(y.shape[1:])
        if sums is None:
            raise LatentlabError("no images to fit: at least one pair (x, y) is needed")
        gram, cross = sums
        penalty = torch.full((len(gram),), ridge * count, dtype=torch.float64)
        penalty[-1] = 0  # the bias is free
        solution = torch.linalg.solve(gram + penalty.diag(), cross).float()  # (P + 1, Q)
        return cls(solution[:-1].T.contiguous(), solution[-1], image_shape)

    def predict(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) → (B, *image_shape); may leave [0, 1]."""
        return (x.flatten(1) @ self.weight.T + self.bias).unflatten(1, self.image_shape)
