"""The plane of a code of two numbers: where the images lie, and what is drawn at each place.

Hinton & Salakhutdinov 2006, figure 3, for the map; Kingma & Welling 2014, figure 4, for the sheet
of images decoded from a regular grid.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.charts import save_map
from latentlab.contracts import Autoencoder
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.plots import save_grid
from latentlab.trained import Trained

STEPS = 16  # images along each side of the sheet
SPAN = (0.01, 0.99)  # quantiles of the codes between which it is drawn: a few lie far outside
MAPPED = 3000  # test images on the map


def applies(model: Any) -> bool:
    return isinstance(model, Autoencoder) and model.latent_dim == 2


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Map the codes of test images and decode a grid over their range."""
    some = yard.test.first(MAPPED)
    z = torch.cat([trained.module.encode(x) for x in some.batches()])  # (N, 2)
    ticks = z.quantile(torch.linspace(*SPAN, STEPS), dim=0)  # (STEPS, 2)
    numbers, sentence = {}, ""
    if some.labels is not None and yard.meta.num_classes >= 2:
        same = neighbour_agreement(z, some.labels)
        numbers["neighbour_agreement"] = same
        sentence = f" {same:.1%} of them have a nearest neighbour of their own class."
    across, upwards = (f"{axis[0]:.3g} … {axis[-1]:.3g}" for axis in ticks.T.tolist())
    return Finding(
        title="The plane of codes",
        text=f"{len(z):,} test images as points, and the images decoded from a grid over the same"
        f" plane: the first number runs to the right ({across}), the second upwards ({upwards}),"
        f" through the codes' quantiles from {SPAN[0]:.0%} to {SPAN[1]:.0%}, so that crowded parts"
        f" of the plane get as much room as empty ones.{sentence}",
        numbers=numbers,
        pictures=[
            Picture(
                "codes",
                "Codes of test images by class",
                partial(save_map, z, some.labels, yard.meta.classes),
            ),
            Picture(
                "sheet",
                "What the decoder draws at each place of the plane",
                partial(save_grid, trained.decode(grid(ticks)), columns=STEPS),
            ),
        ],
    )


def grid(ticks: Tensor) -> Tensor:
    """Codes (K², 2) at every pair of ticks (K, 2), rising in each column, as a picture is read.

    The first number rises to the right, the second falls from the top row to the bottom row.
    """
    down, across = torch.meshgrid(ticks[:, 1].flip(0), ticks[:, 0], indexing="ij")
    return torch.stack([across, down], dim=2).flatten(0, 1)


def neighbour_agreement(z: Tensor, labels: Tensor) -> float:
    """The share of codes (N, 2) whose nearest other code has the same label."""
    hits = 0
    for rows in torch.arange(len(z)).split(500):
        distances = torch.cdist(z[rows].double(), z.double())
        distances[torch.arange(len(rows)), rows] = torch.inf  # not itself
        hits += int((labels[distances.argmin(1)] == labels[rows]).sum())
    return hits / len(z)
