"""Charts of several panels and fields of arrows, for the tasks on low-dimensional data.

These functions get tensors only. They depend on no model and on no task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from latentlab.visualization.charts import GREY, PALETTE, new_figure


@dataclass(frozen=True)
class DensityPanel:
    """One panel of `save_densities`. All tensors are (N,), at the points `x`.

    `p_data`, `p_g`: densities of the data and of the generator. `d`, `d_optimal`: probabilities
    of the discriminator and of the optimal discriminator, in [0, 1].
    """

    title: str
    x: Tensor
    p_data: Tensor
    p_g: Tensor
    d: Tensor
    d_optimal: Tensor


def save_densities(panels: Sequence[DensityPanel], path: Path) -> None:
    """Save panels in two rows: densities as areas, discriminators as lines."""
    columns = math.ceil(len(panels) / 2)
    with new_figure(path, size=(3 * columns, 4.6), dpi=100) as figure:
        grid = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, panels, strict=False):
            _plot_densities(axes, panel)
        lines, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(
            lines, names, loc="outside lower center", ncols=4, frameon=False, labelcolor=GREY
        )


def _plot_densities(axes: Any, panel: DensityPanel) -> None:
    areas = ((panel.p_data, "data", PALETTE[0]), (panel.p_g, "generator", PALETTE[1]))
    for density, name, color in areas:
        axes.fill_between(panel.x, density, color=color, alpha=0.5, lw=0)
        axes.fill_between([], [], color=color, alpha=0.5, label=name)
    axes.plot(panel.x, panel.d_optimal, color=PALETTE[2], ls="--", lw=1.5, label="D*")
    axes.plot(panel.x, panel.d, color=GREY, lw=2, label="D")
    axes.set_title(panel.title, color=GREY, fontsize=10)
    axes.set_facecolor("none")
    axes.set_ylim(0, 1.05)
    axes.tick_params(colors=GREY, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def save_scatter_panels(
    samples: Mapping[str, Tensor], centers: Tensor, path: Path, *, columns: int = 3
) -> None:
    """Save one panel for each entry: samples (N, 2) as dots, `centers` (K, 2) as circles."""
    rows = math.ceil(len(samples) / columns)
    with new_figure(path, size=(8, 2.8 * rows), dpi=100) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        limit = 1.4 * float(centers.abs().max())
        for axes in panels:
            axes.set_axis_off()
        for axes, (name, points) in zip(panels, samples.items(), strict=False):
            axes.scatter(*centers.T, s=70, facecolors="none", edgecolors=GREY, lw=1)
            axes.scatter(*points.T, s=4, lw=0, alpha=0.5, color=PALETTE[0])
            axes.set_title(name, color=GREY, fontsize=10)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def save_vector_fields(
    points: Tensor, reference: Tensor, field: Tensor, data: Tensor, path: Path
) -> None:
    """Save two fields of arrows (N, 2) at `points` (N, 2), half as long as the vectors.

    `reference`: wide grey arrows. `field`: thin blue arrows above them. `data` (M, 2): orange dots.
    """
    with new_figure(path, size=(6, 6)) as figure:
        axes = figure.add_subplot()
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.scatter(data[:, 0], data[:, 1], s=8, c=PALETTE[1], lw=0, zorder=3)
        for vectors, color, width in ((reference, PALETTE[3], 0.008), (field, PALETTE[0], 0.003)):
            options = {"angles": "xy", "scale_units": "xy", "scale": 2}
            axes.quiver(*points.T.numpy(), *vectors.T.numpy(), color=color, width=width, **options)
