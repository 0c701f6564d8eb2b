"""Grids of images as PNG. Charts with axes are in charts.py.

Gaps between images are transparent: a grid fits on a light and on a dark page. Equal input gives
equal bytes. A file is written as a whole or not at all.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from torch import Tensor

from latentlab.contracts import to_uint8
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_atomic

TILE = 64  # px; smaller images are enlarged to about this size


def save_grid(
    images: Tensor, path: Path, *, columns: int, scale: int | None = None, pad: int = 1
) -> None:
    """Save images (N, C, H, W) in [0, 1], C = 1 or 3, as one PNG, row by row.

    `scale`: each pixel becomes `scale` × `scale` pixels; None chooses the integer that brings the
    width of an image nearest to 64 px. `pad`: the transparent gap in image pixels. Raises
    LatentlabError for another shape, no images, non-finite values, columns or scale < 1, pad < 0.
    """
    write_atomic(path, grid_png(images, columns=columns, scale=scale, pad=pad))


def grid_png(images: Tensor, *, columns: int, scale: int | None = None, pad: int = 1) -> bytes:
    """Return the PNG of `save_grid`."""
    rows = _rows(_tiles(images), columns)
    return _png_of_rows(rows, [pad] * len(rows), scale=scale, pad=pad)


def save_pairs(
    originals: Tensor,
    reconstructions: Tensor,
    path: Path,
    *,
    columns: int = 8,
    scale: int | None = None,
    pad: int = 1,
) -> None:
    """Save originals and reconstructions, (N, C, H, W) in [0, 1], as alternating rows.

    The gap between two pairs of rows is three times the gap inside a pair. Raises LatentlabError
    as `save_grid` does, and if the two shapes differ.
    """
    if originals.shape != reconstructions.shape:
        raise LatentlabError(
            f"originals {tuple(originals.shape)} and reconstructions "
            f"{tuple(reconstructions.shape)} differ in shape; pass one reconstruction per original"
        )
    above, below = _rows(_tiles(originals), columns), _rows(_tiles(reconstructions), columns)
    rows = [row for pair in zip(above, below, strict=True) for row in pair]
    write_atomic(path, _png_of_rows(rows, [3 * pad, pad] * (len(rows) // 2), scale=scale, pad=pad))


def save_rows(rows: Tensor, path: Path, *, scale: int | None = None, pad: int = 1) -> None:
    """Save rows (R, K, C, H, W) in [0, 1] as one PNG, e.g. one interpolation of K steps per row.

    Raises LatentlabError as `save_grid` does.
    """
    if rows.ndim != 5:
        raise LatentlabError(
            f"rows have shape {tuple(rows.shape)}; pass (R, K, C, H, W), R rows of K images"
        )
    save_grid(rows.flatten(0, 1), path, columns=rows.shape[1], scale=scale, pad=pad)


def _tiles(images: Tensor) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] → uint8 (N, H, W, C) on the CPU. Raises LatentlabError."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise LatentlabError(
            f"images have shape {tuple(images.shape)}; pass (N, C, H, W) with N ≥ 1 and C = 1 or 3"
        )
    images = images.detach().float().cpu()
    if not images.isfinite().all():
        raise LatentlabError(
            "images contain NaN or infinity; pass finite values in [0, 1]. Check whether the "
            "training diverged"
        )
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


def _rows(tiles: np.ndarray, columns: int) -> list[np.ndarray]:
    if columns < 1:
        raise LatentlabError(f"columns={columns}: pass columns ≥ 1")
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _png_of_rows(rows: list[np.ndarray], gaps: list[int], *, scale: int | None, pad: int) -> bytes:
    """Draw rows of tiles (k, H, W, C) on a transparent canvas, `gaps[i]` pixels above row i."""
    height, width, channels = rows[0].shape[1:]
    if scale is None:
        scale = max(1, round(TILE / width))
    if scale < 1 or pad < 0:
        raise LatentlabError(
            f"scale={scale}, pad={pad}: pass integers, scale ≥ 1 (or None) and pad ≥ 0"
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
    return _png(canvas.repeat(scale, 0).repeat(scale, 1))


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def unscaled(png: bytes) -> tuple[bytes, int, int]:
    """Undo the enlargement of a PNG by an integer factor. Return (PNG, width, height).

    A browser can enlarge the small PNG without loss, so the page needs fewer bytes. An image that
    was not enlarged is returned unchanged. Raises LatentlabError for bytes that are not a PNG.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # all of Pillow's
        raise LatentlabError(
            f"a figure of {len(png)} bytes is not a readable PNG ({error})"
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
    """Return True if more than 40 % of a PNG is transparent: a chart, not a grid of images."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        if image.mode not in ("RGBA", "LA"):
            return False
        return float((np.asarray(image)[..., -1] == 0).mean()) > 0.4
