"""Contraction: how much an encoder shrinks a small change of the image.

The ratio of metrics.contraction for random changes, divided by that for pairs of test images: below
1, arbitrary changes move the code less than the changes do that lead from image to image.

Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from latentlab.contracts import Autoencoder
from latentlab.evaluation import Yardsticks
from latentlab.files import write_atomic
from latentlab.findings import Finding, Picture
from latentlab.metrics.contraction import RADII, contraction_ratios
from latentlab.plots import PALETTE
from latentlab.trained import Trained

IMAGES = 300
SMALL = RADII[0]


def applies(model: Any) -> bool:
    return isinstance(model, Autoencoder)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Contraction over the radius, beside the ratio for pairs of images."""
    x = next(yard.test.first(IMAGES).batches())
    encode, seed = trained.module.encode, yard.settings.seed
    curve, pairs = contraction_ratios(encode, x.to(trained.device), seed=seed)
    relative = {radius: ratio / max(pairs, 1e-12) for radius, ratio in curve.items()}
    return Finding(
        title="Contraction",
        text=f"Random changes of {len(x)} test images by a length of {SMALL} move the code "
        f"{curve[SMALL]:.3g} times as far; going from one test image to another moves it "
        f"{pairs:.3g} times the way. A ratio of the two below 1 says that the code has learned "
        f"which changes do not matter; here it is {relative[SMALL]:.2f}.",
        numbers={
            "contraction_ratio": curve[SMALL],
            "contraction_ratio_of_pairs": pairs,
            "relative_contraction": relative[SMALL],
        },
        pictures=[
            Picture(
                "contraction",
                "How far random changes of some length move the code, relative to the way between "
                "two images",
                partial(
                    save_curves,
                    {"random changes": list(relative.items())},
                    x_label="length of the change",
                    y_label="relative contraction",
                    level=("pairs of test images", 1.0),
                ),
            )
        ],
    )


def save_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    path: Path,
    *,
    x_label: str,
    y_label: str,
    level: tuple[str, float] | None = None,
    logarithmic: str = "",
) -> None:
    """Save lines through (x, y) points by name; `level` is a dashed horizontal, named.

    `logarithmic` names the axes that are: "x", "y", "xy" or none.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grey = "#808080"  # readable on a light page and on a dark one
    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        figure = Figure(figsize=(6, 3.6), dpi=120, facecolor="none", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor="none")
        for (name, points), colour in zip(curves.items(), PALETTE, strict=False):
            axes.plot(*zip(*points, strict=True), marker="o", ms=4, color=colour, label=name)
        if level is not None:
            axes.axhline(level[1], color=grey, ls="--", lw=1, label=level[0])
        axes.set_xscale("log" if "x" in logarithmic else "linear")
        axes.set_yscale("log" if "y" in logarithmic else "linear")
        if "y" not in logarithmic:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(x_label, color=grey)
        axes.set_ylabel(y_label, color=grey)
        axes.tick_params(colors=grey, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(grey)
        axes.legend(frameon=False, labelcolor=grey)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())
