"""Charts: lines, bars and maps, on a clear ground, readable on a light page and on a dark one.

Equal input gives equal bytes, and a chart appears whole or not at all, as in plots.
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

from latentlab.contracts import LatentlabError
from latentlab.files import write_atomic

# Ten hues that stay apart under the common colour-vision deficiencies: Petroff, "Accessible color
# sequences for data visualization" (2021), arXiv:2107.02270.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "o^sDvP*X"  # classes 10…19 take the second marker, and so on
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


def save_map(
    points: Tensor, labels: Tensor | None, classes: Sequence[str] | None, path: Path
) -> None:
    """Save points (N, 2) as a scatter, coloured by integer labels (N,), on a clear background.

    A legend names the classes: `classes[k]` is label k (None: the number itself). Both axes share
    one scale, since only distances carry meaning. Short class names also stand in the middle of
    their class, so that colour is never the only sign. Raises LatentlabError for wrong shapes or
    non-finite points.
    """
    from matplotlib import style

    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise LatentlabError(f"points have shape {tuple(points.shape)}; pass (N, 2) with N ≥ 1")
    if not points.isfinite().all():
        raise LatentlabError("points hold NaN or infinity; only finite codes can be drawn")
    if labels is not None and labels.shape != points.shape[:1]:
        raise LatentlabError(
            f"labels {tuple(labels.shape)} for {len(points)} points; pass one label per point"
        )
    xy = points.detach().double().cpu().numpy()
    kinds = None if labels is None else labels.detach().cpu().numpy()
    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        write_atomic(path, _map_png(xy, kinds, classes))


def _map_png(xy: np.ndarray, kinds: np.ndarray | None, classes: Sequence[str] | None) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=120, facecolor="none")
    figure.set_layout_engine("constrained", h_pad=0.1)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()
    axes.margins(0.02)
    dots: dict[str, Any] = {"s": float(np.clip(9000 / len(xy), 3, 30)), "alpha": 0.75, "lw": 0}
    if kinds is None:
        axes.scatter(xy[:, 0], xy[:, 1], c=PALETTE[0], **dots)
    else:
        _scatter_classes(figure, axes, xy, kinds, classes, dots)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _scatter_classes(
    figure: Any,
    axes: Any,
    xy: np.ndarray,
    kinds: np.ndarray,
    classes: Sequence[str] | None,
    dots: Mapping[str, Any],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    present = [int(kind) for kind in np.unique(kinds)]
    names = {k: str(k) if classes is None or k >= len(classes) else classes[k] for k in present}
    hue = {kind: PALETTE[kind % len(PALETTE)] for kind in present}
    sign = {kind: MARKERS[kind // len(PALETTE) % len(MARKERS)] for kind in present}
    for marker in dict.fromkeys(sign.values()):
        # One call for all classes of a marker keeps the data's order: no class covers the others.
        chosen = np.isin(kinds, [kind for kind in present if sign[kind] == marker])
        colours = [hue[int(kind)] for kind in kinds[chosen]]
        axes.scatter(*xy[chosen].T, c=colours, marker=marker, **dots)
    if max(map(len, names.values())) <= 3 and len(present) <= 30:
        halo = [withStroke(linewidth=3, foreground="white")]
        for kind in present:
            middle = np.median(xy[kinds == kind], axis=0)
            axes.text(
                *middle, names[kind], parse_math=False, fontsize=13, fontweight="bold",
                color="#222222", ha="center", va="center", path_effects=halo,
            )  # fmt: skip
    handles = [
        Line2D([], [], ls="", marker=sign[k], color=hue[k], ms=7, mew=0, label=" ") for k in present
    ]
    longest = max(map(len, names.values()))
    legend = figure.legend(
        handles=handles, loc="outside lower center", frameon=False, fontsize=10,
        ncols=min(len(present), max(1, 44 // (longest + 3))), handletextpad=0.0, columnspacing=0.9,
    )  # fmt: skip
    for text, kind in zip(legend.get_texts(), present, strict=True):
        text.set_parse_math(False)  # a class may be called "$5"
        text.set_text(names[kind][:24])
        text.set_color(GREY)  # readable on a light page and on a dark one
