"""Line charts for tasks: curves with names at their ends, readable on a light and a dark page."""

from __future__ import annotations

import io
from collections.abc import Sequence
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


def save_curves(
    curves: Sequence[Curve], path: Path, *, x: str, y: str, log_x: bool = False
) -> None:
    """Save curves as one PNG; `x` and `y` name the axes, the legend stands below."""
    from matplotlib import style

    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        write_atomic(path, _png(curves, x, y, log_x))


def _png(curves: Sequence[Curve], x: str, y: str, log_x: bool) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), dpi=120, facecolor="none")
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="none")
    for row, curve in enumerate(curves):
        axes.errorbar(
            curve.x, curve.y, curve.spread, color=PALETTE[row % len(PALETTE)], lw=1.8, capsize=3,
            ls=DASHES[row // len(PALETTE) % len(DASHES)], marker=curve.marker, ms=5, label=" ",
        )  # fmt: skip
    _dress(axes, x, y, log_x)
    longest = max(len(curve.name) for curve in curves)
    columns = max(1, min(5, len(curves), 60 // (longest + 7)))
    legend = figure.legend(loc="outside lower center", frameon=False, ncols=columns)
    for text, curve in zip(legend.get_texts(), curves, strict=True):
        text.set_parse_math(False)  # a class may be called "$5"
        text.set_text(curve.name[:32])
        text.set_color(GREY)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _dress(axes: Any, x: str, y: str, log_x: bool) -> None:
    if log_x:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.tick_params(colors=GREY, which="both")
    axes.grid(color=GREY, alpha=0.25, lw=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
