"""PNG files of 16 bits a channel in colour or with alpha, of which Pillow keeps 8 bits.

Reference: PNG specification, third edition (W3C 2025), sections 7.3 (filters) and 8.2 (interlace).
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np

from latentlab.data.pixels.values import RawImage

CHANNELS = {2: 3, 4: 2, 6: 4}  # by colour type: RGB, grey with alpha, RGB with alpha
WHITE = 2**16 - 1
# Adam7: first column, first row, step of columns, step of rows
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def is_deep_png(header: bytes) -> bool:
    """True if the first 26 bytes are those of a PNG of 16 bits in colour or with alpha."""
    return (
        header[:8] == b"\x89PNG\r\n\x1a\n"
        and header[12:16] == b"IHDR"
        and header[24:25] == b"\x10"
        and header[25:26] in (b"\x02", b"\x04", b"\x06")
    )


def read_deep_png(file: IO[bytes]) -> RawImage:
    """Decode a file for which `is_deep_png` is true, and that Pillow has loaded without an error.

    Raises:
        ValueError, struct.error, zlib.error: the file is damaged.
    """
    header, data, key = _chunks(file)
    width, height, _, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    channels = CHANNELS[colour]
    parts = _passes(width, height) if interlace else [(0, 0, 1, 1, width, height)]
    sizes = [h * (1 + w * channels * 2) for *_, w, h in parts]
    raw = np.frombuffer(zlib.decompressobj().decompress(data, sum(sizes)), np.uint8)
    if len(raw) != sum(sizes):
        raise ValueError("the PNG file has too few pixels")
    pixels = np.empty((height, width, channels), np.uint16)
    start = 0
    for (left, top, across, down, w, h), size in zip(parts, sizes, strict=True):
        rows = raw[start : start + size].reshape(h, 1 + w * channels * 2)
        part = _unfilter(rows[:, 1:].reshape(h, w, channels * 2), rows[:, 0])
        pixels[top::down, left::across] = part.view(">u2")
        start += size
    if channels == 3:
        alpha = None if key is None else (pixels != np.array(key)).any(2).astype(np.float64)
        return RawImage(pixels, 16, WHITE, alpha=alpha)
    values = pixels[:, :, 0] if channels == 2 else pixels[:, :, :3]
    return RawImage(values, 16, WHITE, alpha=pixels[:, :, -1] / WHITE)


def _chunks(file: IO[bytes]) -> tuple[bytes, bytes, tuple[int, ...] | None]:
    """Return the content of IHDR, of all IDAT, and the transparent colour."""
    file.seek(8)
    header, data, key = b"", [], None
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if name == b"IEND":
            break
        if name not in (b"IHDR", b"IDAT", b"tRNS"):
            file.seek(length + 4, 1)
            continue
        content = file.read(length)
        file.seek(4, 1)  # the checksum: Pillow has compared it
        if name == b"IHDR":
            header = content
        elif name == b"IDAT":
            data.append(content)
        elif len(content) == 6:
            key = struct.unpack(">HHH", content)
    return header, b"".join(data), key


def _passes(width: int, height: int) -> list[tuple[int, int, int, int, int, int]]:
    """Return the passes that hold pixels, each with its width and height."""
    sized = [
        (left, top, across, down, -(-(width - left) // across), -(-(height - top) // down))
        for left, top, across, down in PASSES
    ]
    return [part for part in sized if part[4] > 0 and part[5] > 0]


def _unfilter(rows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Undo the filters of uint8 rows (H, W, bytes of a pixel); `filters` (H,) are 0…4.

    A pixel depends on the pixels to the left, above, and above left. So all pixels of one diagonal
    are computed together.
    """
    if filters.max() > 4:
        raise ValueError(f"the PNG file has a row of the unknown filter {filters.max()}")
    height, width, size = rows.shape
    out = np.zeros((height + 1, width + 1, size), np.uint8)  # a border of zeros at the left and top
    out[1:, 1:] = rows
    if not filters.any():
        return np.ascontiguousarray(out[1:, 1:])
    flat, stride = out.reshape(-1, size), width  # one row down and one column left: width more
    kind = filters[:, None]
    for diagonal in range(height + width - 1):
        first, last = max(0, diagonal - width + 1), min(height - 1, diagonal)
        count, place = last - first + 1, (first + 1) * (width + 1) + (diagonal - first + 1)
        here = slice(place, place + (count - 1) * stride + 1, stride)
        left = flat[place - 1 :: stride][:count].astype(np.int16)
        above = flat[place - width - 1 :: stride][:count].astype(np.int16)
        corner = flat[place - width - 2 :: stride][:count].astype(np.int16)
        some = kind[first : last + 1]
        guesses = [0 * left, left, above, (left + above) // 2, _paeth(left, above, corner)]
        flat[here] += np.choose(some, guesses).astype(np.uint8)
    return np.ascontiguousarray(out[1:, 1:])


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Return whichever neighbour is nearest to left + above − corner; ties in this order."""
    guess = left + above - corner
    to_left, to_above, to_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
