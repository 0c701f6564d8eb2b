"""Tangent space: the directions of the image space to which the encoder responds.

    J(x) = ∂f(x)/∂x = U diag(s) Vᵀ        energy of direction i: s_i² / Σ s²

The leading columns of V span the tangent space of the data manifold at x, as the encoder sees it.
The local dimension is the number of directions that contain 90 % of the energy.

Rifai, Dauphin, Vincent, Bengio & Muller 2011, "The manifold tangent classifier".
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import DifferentiableEncoder
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.jacobian import jacobian, tangents
from latentlab.visualization.charts import Curve, save_curves
from latentlab.visualization.grids import save_rows

NUM_IMAGES = 40  # test images for the spectrum
NUM_SHOWN, NUM_TANGENTS = 6, 10  # rows of the figure, and tangents in each row
ENERGY = 0.9


def applies(model: Any) -> bool:
    return isinstance(model, DifferentiableEncoder) and model.differentiable_encoder


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Compute singular values and right singular vectors of the Jacobian at test images."""
    x = next(evaluator.test.first(NUM_IMAGES).batches())
    values = singular_values(trained, x)
    dimensions = local_dimension(values)  # (N,)
    metrics = {
        "local_dimension": float(dimensions.double().mean()),
        "local_dimension_min": float(dimensions.min()),
        "local_dimension_max": float(dimensions.max()),
        "largest_singular_value": float(values[:, 0].mean()),
    }
    spectrum = (values / values[:, :1].clamp_min(1e-12)).mean(0).clamp_min(1e-6)
    curve = Curve(trained.name, range(1, len(spectrum) + 1), spectrum.tolist())
    plot = partial(save_curves, [curve], x="direction", y="singular value", logarithmic="xy")
    rows = partial(save_rows, figure_rows(trained, x[:NUM_SHOWN]))
    caption = "Singular values of the Jacobian relative to the largest, mean over images"
    return Result(
        title="Tangent space",
        summary=_summary(metrics["local_dimension"], x[0].numel()),
        metrics=metrics,
        figures=[
            Figure("tangents", "Test images and their leading tangents", rows),
            Figure("spectrum", caption, plot),
        ],
    )


def _summary(dimension: float, directions: int) -> str:
    return (
        f"The local dimension at a test image is {dimension:.1f}: so many of {directions} "
        f"directions contain {ENERGY:.0%} of the energy, the squared singular values of the "
        "Jacobian of the encoder. Rows of the figure: a test image, then its "
        f"{NUM_TANGENTS} leading tangents. The first tangent is the direction that changes the "
        "code most. Grey is 0."
    )


def singular_values(trained: TrainedModel, x: Tensor) -> Tensor:
    """Singular values (N, R) of J at images x (N, C, H, W), descending, on the CPU."""
    with torch.no_grad():
        parts = [jacobian(trained.module.encode, part.to(trained.device)) for part in x.split(10)]
    return torch.cat([torch.linalg.svdvals(part.cpu()) for part in parts])


def local_dimension(values: Tensor) -> Tensor:
    """Number of the descending singular values (N, R) that contain ENERGY of Σ s², int64 (N,).

    0 where all of them are 0.
    """
    energy = values.double().square()
    before = energy.cumsum(1) - energy  # of the directions in front of each
    return (before < ENERGY * energy.sum(1, keepdim=True)).sum(1)


def figure_rows(trained: TrainedModel, x: Tensor) -> Tensor:
    """(N, 1 + NUM_TANGENTS, C, H, W): images x, then their tangents, where 0 is grey 0.5."""
    v = tangents(trained.module.encode, x.to(trained.device), NUM_TANGENTS).cpu()
    peak = v.flatten(2).amax(2)[:, :, None, None, None]
    return torch.cat([x[:, None], 0.5 + 0.5 * v / peak], dim=1)
