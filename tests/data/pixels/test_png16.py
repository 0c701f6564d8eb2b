"""PNG files of 16 bits in colour, with all filters and with interlace."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from latentlab.data.decoding import decode_into
from latentlab.data.pixels.png16 import PASSES, is_deep_png, read_deep_png
from latentlab.data.pixels.settings import PixelSettings

TYPES = {3: 2, 2: 4, 4: 6}  # channels: colour type


def chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + name + content + check


def filtered(part: np.ndarray, filters: list[int]) -> bytes:
    """Apply the filters of the specification, byte by byte."""
    size = part.shape[2] * 2
    rows = part.astype(">u2").view(np.uint8).reshape(len(part), -1).astype(int)
    above, out = np.zeros(rows.shape[1], int), b""
    for number, row in enumerate(rows):
        kind = filters[number % len(filters)]
        left = np.concatenate([np.zeros(size, int), row[:-size]])
        corner = np.concatenate([np.zeros(size, int), above[:-size]])
        guess = left + above - corner
        distances = np.abs(np.stack([guess - left, guess - above, guess - corner]))
        paeth = np.stack([left, above, corner])[distances.argmin(0), np.arange(len(row))]
        guessed = [0 * row, left, above, (left + above) // 2, paeth][kind]
        out += bytes([kind]) + ((row - guessed) % 256).astype(np.uint8).tobytes()
        above = row
    return out


def png(values: np.ndarray, filters: list[int], interlace: bool = False) -> bytes:
    height, width, channels = values.shape
    parts = [values]
    if interlace:
        parts = [values[top::down, left::across] for left, top, across, down in PASSES]
    rows = b"".join(filtered(part, filters) for part in parts if part.size)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header += bytes([16, TYPES[channels], 0, 0, interlace])
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("channels", TYPES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 12), (13, 5)])
def test_every_filter_is_undone(size, channels, interlace) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (*size, channels), dtype=np.uint16)
    for filters in ([0], [1], [2], [3], [4], [4, 0, 3, 2, 1]):
        content = png(values, filters, interlace)
        assert is_deep_png(content[:26])
        with Image.open(io.BytesIO(content)) as image:
            image.load()  # Pillow accepts the file
        found = read_deep_png(io.BytesIO(content))
        colours = values[..., :3] if channels > 2 else values[..., 0]
        np.testing.assert_array_equal(found.values, colours)
        if channels != 3:
            np.testing.assert_array_equal(found.alpha, values[..., -1] / 65535)


def test_the_low_byte_counts_with_a_white() -> None:
    values = np.repeat(np.arange(0, 4096, 273, dtype=np.uint16)[None, :, None], 16, 0)
    content = png(np.repeat(values, 3, axis=2), [4])

    def array(count: int) -> np.ndarray:
        return np.zeros((count, 3, 16, 16), np.uint8)

    decoded = decode_into(["a"], lambda _row: io.BytesIO(content), array, PixelSettings(white=4095))
    np.testing.assert_array_equal(decoded.pixels[0, 0, 0], np.arange(0, 256, 17))
