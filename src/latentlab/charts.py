"""Charts: lines and bars with axes, on a clear ground, readable on a light page and on a dark one.

Equal input gives equal bytes, and a chart appears whole or not at all, as in plots.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentlab.files import write_atomic
from latentlab.plots import PALETTE

GREY = "#808080"
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """One line: `x`, `y`, and optionally the half length of an error bar at each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    marker: str = ""


@contextmanager
def chart(path: Path, *, size: tuple[float, float] = (6, 3.6)) -> Iterator[Any]:
    """Yield matplotlib's axes; what was drawn is written when the block ends well.

    What has a label is named below the chart.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        figure = Figure(figsize=size, dpi=120, facecolor="none", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor="none")
        yield axes
        _dress(axes)
        _name(figure, axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def save_curves(
    curves: Sequence[Curve],
    path: Path,
    *,
    x: str,
    y: str,
    logarithmic: str = "",
    level: tuple[str, float] | None = None,
    size: tuple[float, float] = (6, 4.5),
) -> None:
    """Save curves as one PNG; `x` and `y` name the axes, `level` is a named, dashed horizontal.

    `logarithmic` names the axes that are: "x", "y", "xy" or none.
    """
    with chart(path, size=size) as axes:
        for row, curve in enumerate(curves):
            axes.errorbar(
                curve.x, curve.y, curve.spread, color=PALETTE[row % len(PALETTE)], lw=1.8,
                ls=DASHES[row // len(PALETTE) % len(DASHES)], marker=curve.marker, ms=5,
                capsize=3, label=curve.name,
            )  # fmt: skip
        if level is not None:
            axes.axhline(level[1], color=GREY, ls="--", lw=1, label=level[0])
        _scale(axes, logarithmic)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(color=GREY, alpha=0.25, lw=0.6)


def _scale(axes: Any, logarithmic: str) -> None:
    if "y" in logarithmic:
        axes.set_yscale("log")
    if "x" in logarithmic:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _dress(axes: Any) -> None:
    axes.tick_params(colors=GREY, which="both")
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(GREY)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)


def _name(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    columns = max(1, min(5, len(labels), 60 // (max(map(len, labels)) + 7)))
    place = {"loc": "outside lower center", "frameon": False, "ncols": columns}
    legend = figure.legend(handles, [" "] * len(labels), **place)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)  # a class may be called "$5"
        text.set_text(label[:40])
        text.set_color(GREY)
