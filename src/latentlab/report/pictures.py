"""Pictures of the page: sprites of many small images, and figures, as WebP.

A sprite is one picture with all images of one kind, row by row without gaps. It comes from
images.npz; without this file, samples, reconstructions and interpolations are cut out of their PNG
files. Equal input gives equal bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from latentlab.report.arrays import Arrays, short, stage_of_folder
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import is_plot, unscaled

COLUMNS = 16
MAX_PIXELS = 360_000  # of one sprite; larger images are fewer
MAX_TILES = 160  # images of one sprite: 10 groups of 16
MAX_FIGURE_WIDTH = 900  # px
MAX_PIXELATED_WIDTH = 480  # px: smaller figures are enlarged by whole factors, without smoothing
QUALITY = 31  # of lossy WebP: at 28 × 28 pixels no difference is visible
CHART_COLORS = 32
SPRITES = {  # key in images.npz → images in one group, which stays whole
    "originals": 1,
    "samples": 1,
    "reconstructions": 1,
    "interpolations": 10,
    "training_samples": 16,
    "plane": 1,
}


@dataclass(frozen=True)
class Sprite:
    """A picture of `count` images, `columns` in a row, each `width` × `height` pixels."""

    webp: bytes
    count: int
    columns: int
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A figure. `pixelated`: it is enlarged by whole factors, without smoothing."""

    webp: bytes
    width: int
    height: int
    pixelated: bool


@dataclass
class Pictures:
    """Pictures by name, as base64."""

    content: dict[str, str] = field(default_factory=dict)

    def add(self, webp: bytes) -> str:
        """Store a picture. Return its name; equal pictures have one name."""
        text = base64.b64encode(webp).decode()
        for name, known in self.content.items():
            if known == text:
                return name
        name = f"p{len(self.content)}"
        self.content[name] = text
        return name

    def sprite(self, sprite: Sprite) -> dict[str, Any]:
        return {
            "src": self.add(sprite.webp),
            "n": sprite.count,
            "cols": sprite.columns,
            "w": sprite.width,
            "h": sprite.height,
        }


def sprites_of(folder: Path, arrays: Arrays, shape: Iterable[int]) -> dict[str, Sprite]:
    """Sprites by kind, of images.npz or else of the PNG files. `shape`: (C, H, W) of the data."""
    images = {key: arrays[key] for key in SPRITES if key in arrays}
    if not arrays:
        images = _cut_out(folder, tuple(shape))
    sprites = {key: _sprite(key, stack) for key, stack in images.items() if stack.size}
    return {key: sprite for key, sprite in sprites.items() if sprite is not None}


def _sprite(key: str, stack: np.ndarray) -> Sprite | None:
    """(…, H, W, C) uint8 → one picture; None for another shape."""
    if stack.ndim < 4 or stack.shape[-1] not in (1, 3) or stack.dtype != np.uint8:
        return None
    height, width, channels = stack.shape[-3:]
    tiles = stack.reshape(-1, height, width, channels)
    group = SPRITES[key]
    if key != "plane":  # a grid of which a part is missing is useless
        most = max(1, min(MAX_TILES, MAX_PIXELS // (height * width)) // group) * group
        tiles = tiles[:most]
    columns = min(COLUMNS, len(tiles))
    sheet = _sheet(tiles, columns)
    return Sprite(_lossy(sheet.tobytes(), sheet.shape), len(tiles), columns, width, height)


def _sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    count, height, width, channels = tiles.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = tiles
    grid = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


@lru_cache(maxsize=1024)  # the page is written anew after each evaluation
def _lossy(pixels: bytes, shape: tuple[int, ...]) -> bytes:
    """Pixels (H, W, C) → lossy WebP."""
    from PIL import Image

    array = np.frombuffer(pixels, np.uint8).reshape(shape)
    return _saved(Image.fromarray(array[..., 0] if shape[-1] == 1 else array), quality=QUALITY)


def _cut_out(folder: Path, shape: tuple[int, ...]) -> Arrays:
    """The images in the PNG files of visualization.grids, which have gaps of one pixel."""
    if len(shape) != 3:
        return {}
    images: Arrays = {}
    for name in ("originals", "samples", "interpolations"):
        if (tiles := _tiles(folder / f"{name}.png", shape, second_gap=0)) is not None:
            images[name] = tiles.reshape(-1, *tiles.shape[2:])
    pairs = _tiles(folder / "reconstructions.png", shape, second_gap=2)
    if pairs is not None:
        images["reconstructions"] = pairs[1::2].reshape(-1, *pairs.shape[2:])
    return images


def _tiles(path: Path, shape: tuple[int, ...], *, second_gap: int) -> np.ndarray | None:
    """A grid → (rows, columns, H, W, C). `second_gap`: added to the gap above every second row.

    None if there is no file, or a file of another size.
    """
    from PIL import Image

    if not path.exists():
        return None
    channels, height, width = shape
    png, total_width, total_height = _readable(path)
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    pixels = pixels.reshape(total_height, total_width, channels)
    columns, odd = divmod(total_width + 1, width + 1)
    lefts = [column * (width + 1) for column in range(columns)]
    tops, top = [], 0
    while top + height <= total_height:
        tops.append(top)
        top += height + 1 + (second_gap if len(tops) % 2 == 0 else 0)
    if odd or not tops or tops[-1] + height != total_height:
        return None
    return np.stack(
        [[pixels[y : y + height, x : x + width] for x in lefts] for y in tops], dtype=np.uint8
    )


def picture(path: Path) -> Picture | None:
    """A PNG file as WebP; None if it is missing.

    An enlarged grid of pixels becomes small again. A chart has few colors, so it is stored without
    loss. Raises LatentlabError for a damaged file.
    """
    if not path.exists():
        return None
    return _picture(*_readable(path))


@lru_cache(maxsize=1024)
def _picture(png: bytes, width: int, height: int) -> Picture:
    from PIL import Image

    chart = is_plot(png)
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGBA")
    if width > MAX_FIGURE_WIDTH:
        width, height = MAX_FIGURE_WIDTH, round(height * MAX_FIGURE_WIDTH / width)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    if not chart:
        return Picture(_saved(image, quality=QUALITY), width, height, width < MAX_PIXELATED_WIDTH)
    few = image.quantize(CHART_COLORS, method=Image.Quantize.FASTOCTREE).convert("RGBA")
    return Picture(_saved(few, lossless=True, quality=60), width, height, False)


def _saved(image: Any, *, quality: int, lossless: bool = False) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", lossless=lossless, quality=quality, method=4)
    return buffer.getvalue()


def _readable(path: Path) -> tuple[bytes, int, int]:
    try:
        return unscaled(path.read_bytes())
    except (LatentlabError, OSError) as error:
        raise LatentlabError(
            f"{short(path)} cannot be shown: {error}: `dvc repro {stage_of_folder(path.parent)}`"
        ) from None
