"""Common image formats, baselines of a learned code: all images in one file, so one header counts.

jpeg                       lossy: 8×8 blocks of a cosine transform, rounded by a quality
zlib, PNG, WebP, JPEG XL   lossless: zlib of the raw bytes, and lossless image files

JPEG halves the resolution of colours by default, and smooths them back over the borders of blocks,
from image to image. It keeps the full resolution here: an image alone and among others is equal.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 8  # pixels of JPEG's blocks


def jpeg(images: Tensor, quality: int) -> bytes:
    """Images uint8 (N, C, H, W), C 1 or 3, side by side; each begins at a new 8×8 block."""
    height, width = (-(-side // BLOCK) * BLOCK for side in images.shape[2:])
    padded = images.new_zeros(*images.shape[:2], height, width)
    padded[:, :, : images.shape[2], : images.shape[3]] = images
    return _save(make_sheet(padded), format="JPEG", quality=quality, optimize=True, subsampling=0)


def read_jpeg(content: bytes, shape: torch.Size) -> Tensor:
    """The file of `jpeg` → images uint8 of `shape` (N, C, H, W)."""
    height, width = (-(-side // BLOCK) * BLOCK for side in shape[2:])
    padded = cut_sheet(_read(content), torch.Size((*shape[:2], height, width)))
    return padded[:, :, : shape[2], : shape[3]]


def lossless_sizes(images: Tensor) -> dict[str, int]:
    """Bytes of one lossless file of the images, uint8 (N, C, H, W), by the name of the format.

    A format that this installation lacks, or that has no files of this size, is left out.
    """
    sizes = {}
    for name, encode in LOSSLESS.items():
        with contextlib.suppress(KeyError, OSError, ValueError):  # Pillow's reasons, by format
            sizes[name] = len(encode(images))
    return sizes


def by_zlib(images: Tensor) -> bytes:
    return zlib.compress(images.numpy().tobytes(), 9)


def by_png(images: Tensor) -> bytes:
    return _save(make_sheet(images), format="PNG", optimize=True)


def by_webp(images: Tensor) -> bytes:
    return _save(make_sheet(images), format="WEBP", lossless=True)


def by_jpeg_xl(images: Tensor) -> bytes:
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")  # adds the format to Pillow
    return _save(make_sheet(images), format="JXL", lossless=True)


LOSSLESS: dict[str, Callable[[Tensor], bytes]] = {
    "zlib": by_zlib,
    "PNG": by_png,
    "WebP": by_webp,
    "JPEG XL": by_jpeg_xl,
}


def make_sheet(images: Tensor) -> np.ndarray:
    """Images (N, C, H, W) in a square of cells, row by row → (rows, columns) or with C behind."""
    side = math.ceil(len(images) ** 0.5)
    cells = images.new_zeros(side * side, *images.shape[1:])
    cells[: len(images)] = images
    sheet = cells.unflatten(0, (side, side)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return sheet.numpy().squeeze(2) if images.shape[1] == 1 else sheet.numpy()


def cut_sheet(sheet: np.ndarray, shape: torch.Size) -> Tensor:
    """Inverse of `make_sheet`: images of `shape` (N, C, H, W)."""
    count, channels, height, width = shape
    side = math.ceil(count**0.5)
    cells = torch.from_numpy(sheet).view(side, height, side, width, channels)
    return cells.permute(0, 2, 4, 1, 3).flatten(0, 1)[:count]


def _save(pixels: np.ndarray, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _read(content: bytes) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(io.BytesIO(content)))
