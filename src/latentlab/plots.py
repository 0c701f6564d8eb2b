"""Tensors → pictures: image sheets, a map of codes. Knows no model.

Every picture appears whole or not at all, and equal input gives equal bytes. Gaps between images
are transparent, so that a sheet sits on a light page as well as on a dark one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from latentlab.contracts import LatentlabError, to_uint8
from latentlab.files import write_atomic

# Ten hues that stay apart under the common colour-vision deficiencies: Petroff, "Accessible color
# sequences for data visualization" (2021), arXiv:2107.02270.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "o^sDvP*X"  # classes 10…19 take the second marker, and so on
TILE = 64  # px; an image smaller than this is enlarged to about this size


def save_grid(
    images: Tensor, path: Path, *, columns: int, scale: int | None = None, pad: int = 1
) -> None:
    """Save images (N, C, H, W) in [0, 1], C = 1 or 3, as one PNG, row by row.

    Each pixel becomes `scale` × `scale` pixels (None: the whole factor that brings an image nearest
    to 64 px); `pad` is the transparent gap in image pixels. Raises LatentlabError for another
    shape, no images, values that are not finite, columns or scale < 1, or pad < 0.
    """
    rows = _rows(_tiles(images), columns)
    _save_sheet(rows, [pad] * len(rows), path, scale=scale, pad=pad)


def save_pairs(
    originals: Tensor,
    reconstructions: Tensor,
    path: Path,
    *,
    columns: int = 8,
    scale: int | None = None,
    pad: int = 1,
) -> None:
    """Save two stacks (N, C, H, W) in [0, 1] as interleaved rows: originals, below them x̂.

    A pair of rows stands close; pairs stand three gaps apart. Raises LatentlabError as `save_grid`
    does, and when the two shapes differ.
    """
    if originals.shape != reconstructions.shape:
        raise LatentlabError(
            f"originals {tuple(originals.shape)} and reconstructions "
            f"{tuple(reconstructions.shape)} differ in shape; pass one reconstruction per original"
        )
    above, below = _rows(_tiles(originals), columns), _rows(_tiles(reconstructions), columns)
    rows = [row for pair in zip(above, below, strict=True) for row in pair]
    _save_sheet(rows, [3 * pad, pad] * (len(rows) // 2), path, scale=scale, pad=pad)


def save_rows(rows: Tensor, path: Path, *, scale: int | None = None, pad: int = 1) -> None:
    """Save rows (R, K, C, H, W) in [0, 1] as a sheet, e.g. one interpolation of K steps per row.

    Raises LatentlabError as `save_grid` does.
    """
    if rows.ndim != 5:
        raise LatentlabError(
            f"rows have shape {tuple(rows.shape)}; pass (R, K, C, H, W), R rows of K images"
        )
    save_grid(rows.flatten(0, 1), path, columns=rows.shape[1], scale=scale, pad=pad)


def _tiles(images: Tensor) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] → uint8 (N, H, W, C) on the CPU, or an error that helps."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise LatentlabError(
            f"images have shape {tuple(images.shape)}; pass (N, C, H, W) with N ≥ 1 and C = 1 or 3"
        )
    images = images.detach().float().cpu()
    if not images.isfinite().all():
        raise LatentlabError(
            "images hold NaN or infinity; only finite values in [0, 1] can be drawn: "
            "look for a diverged training"
        )
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


def _rows(tiles: np.ndarray, columns: int) -> list[np.ndarray]:
    if columns < 1:
        raise LatentlabError(f"columns={columns}: a sheet of images needs at least one column")
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _save_sheet(
    rows: list[np.ndarray], gaps: list[int], path: Path, *, scale: int | None, pad: int
) -> None:
    """Lay rows of tiles (k, H, W, C) on a transparent canvas; `gaps[i]` px stand above row i."""
    height, width, channels = rows[0].shape[1:]
    if scale is None:
        scale = max(1, round(TILE / width))
    if scale < 1 or pad < 0:
        raise LatentlabError(
            f"scale={scale}, pad={pad}: pass whole numbers, scale ≥ 1 (None chooses) and pad ≥ 0"
        )
    across = len(rows[0]) * (width + pad) - pad
    down = len(rows) * height + sum(gaps[1:])
    canvas = np.zeros((down, across, channels + 1), np.uint8)
    top = 0
    for index, (row, gap) in enumerate(zip(rows, gaps, strict=True)):
        top += gap if index else 0
        for column, tile in enumerate(row):
            left = column * (width + pad)
            canvas[top : top + height, left : left + width, :channels] = tile
            canvas[top : top + height, left : left + width, channels] = 255
        top += height
    write_atomic(path, _png(canvas.repeat(scale, 0).repeat(scale, 1)))


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def unscaled(png: bytes) -> tuple[bytes, int, int]:
    """Undo a whole-number enlargement: PNG → the same picture as a small PNG, its width, height.

    A browser enlarges a small picture as crisply; a page then carries a fraction of the bytes. A
    picture that is no enlargement comes back as it is. Raises LatentlabError for what is no PNG.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # as Pillow likes
        raise LatentlabError(
            f"a picture of {len(png)} bytes is not a readable PNG ({error})"
        ) from error
    height, width = pixels.shape[:2]
    common = math.gcd(height, width)
    for factor in range(min(common, 32), 1, -1):
        if common % factor:
            continue
        small = pixels[::factor, ::factor]
        if np.array_equal(small.repeat(factor, 0).repeat(factor, 1), pixels):
            return _png(small), width // factor, height // factor
    return png, width, height


def is_plot(png: bytes) -> bool:
    """Whether a picture is drawn on a clear background, unlike a sheet of images with its gaps."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        if image.mode not in ("RGBA", "LA"):
            return False
        return float((np.asarray(image)[..., -1] == 0).mean()) > 0.4


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
        text.set_color("#808080")  # readable on a light page and on a dark one
