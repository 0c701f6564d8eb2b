"""The figures that every model gets: samples, reconstructions, interpolations and a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import to_float
from latentlab.evaluation.outputs import Outputs
from latentlab.visualization.charts import save_scatter
from latentlab.visualization.grids import save_grid, save_pairs, save_rows

NUM_PAIRS = 16


def save_figures(
    images: Mapping[str, np.ndarray],
    outputs: Outputs,
    folder: Path,
    *,
    classes: Sequence[str] | None,
) -> None:
    """Write samples, reconstructions, interpolations and map (.png) into `folder`.

    `images`: the arrays of images.npz. `classes`: names of the labels.
    """
    x, x_hat = outputs.originals[:NUM_PAIRS], outputs.reconstructions[:NUM_PAIRS]
    save_grid(outputs.samples, folder / "samples.png", columns=8)
    save_pairs(x, x_hat, folder / "reconstructions.png")
    save_rows(_floats(images["interpolations"]), folder / "interpolations.png")
    save_scatter(torch.from_numpy(images["map"]), outputs.labels, classes, folder / "map.png")


def _floats(pixels: np.ndarray) -> Tensor:
    """uint8 images (…, H, W, C) → float32 (…, C, H, W) in [0, 1]."""
    return to_float(torch.from_numpy(pixels)).movedim(-1, -3)
