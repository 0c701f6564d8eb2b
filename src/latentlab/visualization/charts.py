"""Charts with axes: curves and scatter plots as PNG. Only this file imports matplotlib.

The background is transparent and the text is grey: a chart is readable on a light and on a dark
page. Equal input gives equal bytes. A file is written as a whole or not at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_atomic

# Ten colors that differ for people with the common color vision deficiencies: Petroff 2021,
# "Accessible color sequences for data visualization", arXiv:2107.02270.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "o^sDvP*X"  # classes 0…9 have the first marker, classes 10…19 the second, and so on
GREY = "#808080"
LINE_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """One line: `x`, `y`, and optionally half the length of an error bar at each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error_bar: Sequence[float] | None = None
    marker: str = ""


@contextmanager
def new_figure(path: Path, *, size: tuple[float, float], dpi: int = 120) -> Iterator[Any]:
    """Yield a matplotlib Figure of `size` inches; write it to `path` if the block succeeds."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        figure = Figure(figsize=size, dpi=dpi, facecolor="none", layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


@contextmanager
def chart(path: Path, *, size: tuple[float, float] = (6, 3.6)) -> Iterator[Any]:
    """Yield matplotlib Axes; write the chart to `path` if the block succeeds.

    A legend below the chart lists everything that has a label.
    """
    with new_figure(path, size=size) as figure:
        axes = figure.add_subplot(facecolor="none")
        yield axes
        _style_axes(axes)
        _add_legend(figure, axes)


def save_curves(
    curves: Sequence[Curve],
    path: Path,
    *,
    x: str,
    y: str,
    logarithmic: str = "",
    level: tuple[str, float] | None = None,
    marks: Sequence[tuple[str, float]] = (),
    size: tuple[float, float] = (6, 4.5),
) -> None:
    """Save curves as one PNG.

    `x`, `y`: labels of the axes. `logarithmic`: the logarithmic axes, "x", "y", "xy" or "".
    `level`: (name, y) of a dashed horizontal line. `marks`: (name, x) of vertical lines.
    """
    with chart(path, size=size) as axes:
        for row, curve in enumerate(curves):
            axes.errorbar(
                curve.x, curve.y, curve.error_bar, color=PALETTE[row % len(PALETTE)], lw=1.8,
                ls=LINE_STYLES[row // len(PALETTE) % len(LINE_STYLES)], marker=curve.marker, ms=5,
                capsize=3, label=curve.name,
            )  # fmt: skip
        if level is not None:
            axes.axhline(level[1], color=GREY, ls="--", lw=1, label=level[0])
        for row, (name, value) in enumerate(marks):
            axes.axvline(value, color=GREY, ls=LINE_STYLES[row % len(LINE_STYLES)], label=name)
        _scale_axes(axes, logarithmic)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(color=GREY, alpha=0.25, lw=0.6)


def _scale_axes(axes: Any, logarithmic: str) -> None:
    if "y" in logarithmic:
        axes.set_yscale("log")
    if "x" in logarithmic:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _style_axes(axes: Any) -> None:
    axes.tick_params(colors=GREY, which="both")
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(GREY)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)


def _add_legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    columns = max(1, min(5, len(labels), 60 // (max(map(len, labels)) + 7)))
    options = {"loc": "outside lower center", "frameon": False, "ncols": columns}
    legend = figure.legend(handles, [" "] * len(labels), **options)
    _set_texts(legend, [label[:40] for label in labels])


def _set_texts(legend: Any, names: Sequence[str]) -> None:
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)  # a class may be called "$5"
        text.set_text(name)
        text.set_color(GREY)


def save_scatter(
    points: Tensor, labels: Tensor | None, classes: Sequence[str] | None, path: Path
) -> None:
    """Save points (N, 2) as a scatter plot, colored by integer labels (N,).

    Both axes have the same scale. A legend names the classes: `classes[k]` is the name of label k,
    None uses the label itself. Short names also stand at the median of their class, so that color
    is not the only mark of a class. Raises LatentlabError for wrong shapes or non-finite points.
    """
    _check_points(points, labels)
    xy = points.detach().double().cpu().numpy()
    with new_figure(path, size=(5, 5)) as figure:
        figure.set_layout_engine("constrained", h_pad=0.1)
        axes = figure.add_subplot()
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_axis_off()
        axes.margins(0.02)
        dots = {"s": float(np.clip(9000 / len(xy), 3, 30)), "alpha": 0.75, "lw": 0}
        if labels is None:
            axes.scatter(xy[:, 0], xy[:, 1], c=PALETTE[0], **dots)
        else:
            _scatter_classes(figure, axes, xy, labels.detach().cpu().numpy(), classes, dots)


def _check_points(points: Tensor, labels: Tensor | None) -> None:
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise LatentlabError(f"points have shape {tuple(points.shape)}; pass (N, 2) with N ≥ 1")
    if not points.isfinite().all():
        raise LatentlabError("points contain NaN or infinity; pass finite values")
    if labels is not None and labels.shape != points.shape[:1]:
        raise LatentlabError(
            f"labels {tuple(labels.shape)} for {len(points)} points; pass one label per point"
        )


def _scatter_classes(
    figure: Any,
    axes: Any,
    xy: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str] | None,
    dots: Mapping[str, float],
) -> None:
    present = [int(label) for label in np.unique(labels)]
    names = {k: str(k) if classes is None or k >= len(classes) else classes[k] for k in present}
    colors = {label: PALETTE[label % len(PALETTE)] for label in present}
    markers = {label: MARKERS[label // len(PALETTE) % len(MARKERS)] for label in present}
    for marker in dict.fromkeys(markers.values()):
        # One call for all classes of a marker keeps the order of the data: no class hides another.
        chosen = np.isin(labels, [label for label in present if markers[label] == marker])
        c = [colors[int(label)] for label in labels[chosen]]
        axes.scatter(*xy[chosen].T, c=c, marker=marker, **dots)
    if max(map(len, names.values())) <= 3 and len(present) <= 30:
        for label in present:
            _write_name(axes, names[label], np.median(xy[labels == label], axis=0))
    _add_class_legend(figure, names, colors, markers)


def _write_name(axes: Any, name: str, position: np.ndarray) -> None:
    from matplotlib.patheffects import withStroke

    axes.text(
        *position, name, parse_math=False, fontsize=13, fontweight="bold", color="#222222",
        ha="center", va="center", path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip


def _add_class_legend(
    figure: Any, names: Mapping[int, str], colors: Mapping[int, str], markers: Mapping[int, str]
) -> None:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"ls": "", "ms": 7, "mew": 0, "label": " "}
    handles = [Line2D([], [], marker=markers[k], color=colors[k], **look) for k in names]
    longest = max(map(len, names.values()))
    legend = figure.legend(
        handles=handles, loc="outside lower center", frameon=False, fontsize=10,
        ncols=min(len(names), max(1, 44 // (longest + 3))), handletextpad=0.0, columnspacing=0.9,
    )  # fmt: skip
    _set_texts(legend, [name[:24] for name in names.values()])
