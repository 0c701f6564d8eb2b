"""The latent plane of a model with latent_dim 2: codes of test images, and images on a grid.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks", figure 3,
for the codes; Kingma & Welling 2014, "Auto-encoding variational Bayes", figure 4, for the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Encoder
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.charts import save_scatter
from latentlab.visualization.grids import save_grid

STEPS = 16  # images along each side of the grid
QUANTILES = (0.01, 0.99)  # range of the grid: a few codes lie far outside
NUM_IMAGES = 3000  # test images in the scatter plot


def applies(model: Any) -> bool:
    return isinstance(model, Encoder) and model.latent_dim == 2


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Plot the codes of test images, and decode a grid over their range."""
    test, classes = evaluator.test.first(NUM_IMAGES), evaluator.dataset.classes
    z = torch.cat([trained.encode(x) for x in test.batches()])  # (N, 2)
    ticks = z.quantile(torch.linspace(*QUANTILES, STEPS), dim=0)  # (STEPS, 2)
    metrics = {}
    if test.labels is not None and evaluator.dataset.num_classes >= 2:
        metrics["neighbour_agreement"] = neighbour_agreement(z, test.labels)
    images = trained.decode(grid(ticks))
    return Result(
        title="Latent plane",
        summary=_summary(len(z), ticks, metrics),
        metrics=metrics,
        figures=[
            Figure(
                "codes",
                "Codes of test images by class",
                partial(save_scatter, z, test.labels, classes),
            ),
            Figure(
                "grid",
                "Images decoded from a grid of codes",
                partial(save_grid, images, columns=STEPS),
            ),
        ],
    )


def _summary(count: int, ticks: Tensor, metrics: Mapping[str, float]) -> str:
    x_range, y_range = (f"{axis[0]:.3g} … {axis[-1]:.3g}" for axis in ticks.T.tolist())
    agreement = (
        f" For {metrics['neighbour_agreement']:.1%} of the codes, the nearest other code has the "
        "same class."
        if metrics
        else ""
    )
    return (
        f"Scatter plot: the codes of {count:,} test images. Grid: images decoded from codes at the "
        f"quantiles {QUANTILES[0]:.0%} … {QUANTILES[1]:.0%} of each unit, so that dense regions "
        f"get more images. The first unit increases to the right ({x_range}), the second unit "
        f"increases upwards ({y_range}).{agreement}"
    )


def grid(ticks: Tensor) -> Tensor:
    """Codes (K², 2) at every pair of ticks (K, 2), increasing in each column, row by row.

    The first unit increases to the right. The second unit decreases from the top row down.
    """
    down, across = torch.meshgrid(ticks[:, 1].flip(0), ticks[:, 0], indexing="ij")
    return torch.stack([across, down], dim=2).flatten(0, 1)


def neighbour_agreement(z: Tensor, labels: Tensor) -> float:
    """Fraction of codes (N, 2) whose nearest other code has the same label."""
    equal = 0
    for rows in torch.arange(len(z)).split(500):
        distances = torch.cdist(z[rows].double(), z.double())
        distances[torch.arange(len(rows)), rows] = torch.inf  # a code is not its own neighbour
        equal += int((labels[distances.argmin(1)] == labels[rows]).sum())
    return equal / len(z)
