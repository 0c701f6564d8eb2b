"""FITS files: scale, sign and the direction of rows."""

import io

import numpy as np
import pytest

from latentlab.data.pixels.frames import open_frames
from latentlab.data.pixels.values import RawImage


def fits(values: np.ndarray, bits: int, **cards: float) -> bytes:
    """A FITS file by the standard: cards of 80 bytes, blocks of 2880 bytes, big-endian."""
    height, width = values.shape
    header = {"BITPIX": bits, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height, **cards}
    text = "SIMPLE  =                    T".ljust(80)
    text += "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in header.items())
    text += "END".ljust(80)
    kind = {8: "u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}[bits]
    data = values.astype(kind).tobytes()
    return text.ljust(-(-len(text) // 2880) * 2880).encode() + data + bytes(-len(data) % 2880)


def read(content: bytes) -> RawImage:
    with open_frames(io.BytesIO(content)) as frames:
        raw = frames.read(0).content
    assert isinstance(raw, RawImage)
    return raw


@pytest.mark.parametrize(
    ("bits", "cards", "white"),
    [
        (8, {}, 255),
        (8, {"BZERO": -128}, 127),
        (16, {}, 32767),
        (16, {"BZERO": 32768}, 65535),
        (32, {}, 2**31 - 1),
        (32, {"BZERO": 2.0**31}, 2**32 - 1),
        (-32, {}, 1),
        (-64, {}, 1),
        (16, {"BSCALE": 0.5, "BZERO": 3}, 1),
    ],
)
def test_values_are_scaled_as_the_standard_says(bits, cards, white) -> None:
    least = {8: 0, 16: -32768, 32: -(2**31)}.get(bits, 0)
    stored = np.array([[least, 1, 2], [3, 100, 127]])
    raw = read(fits(stored, bits, **cards))
    wanted = cards.get("BSCALE", 1) * stored + cards.get("BZERO", 0)
    np.testing.assert_array_equal(raw.values, wanted[::-1])  # the first row is at the bottom
    assert raw.white == white


def test_a_cube_is_refused() -> None:
    content = fits(np.zeros((4, 4)), 16).replace(
        b"NAXIS   =                    2", b"NAXIS   =                    3"
    )
    with (
        pytest.raises(ValueError, match="only an uncompressed first image of two axes"),
        open_frames(io.BytesIO(content)) as frames,
    ):
        frames.read(0)
