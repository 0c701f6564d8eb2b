"""JPEG 2000 files of every depth, written by imagecodecs: each is read as the array says."""

import io
import sys

import numpy as np
import pytest

from latentlab.data.decoding import decode_into
from latentlab.data.pixels.settings import PixelSettings

imagecodecs = pytest.importorskip("imagecodecs")

SIDE = 8


def read(content: bytes, **settings) -> tuple[np.ndarray, dict[str, str]]:
    """The images (N, 3, S, S) of a file on black, and the reason if it cannot be read."""

    def array(count: int) -> np.ndarray:
        return np.zeros((count, 3, SIDE, SIDE), np.uint8)

    given = PixelSettings(background="black", **settings)
    decoded = decode_into(["file"], lambda _row: io.BytesIO(content), array, given)
    return decoded.pixels, decoded.problems


def written(bits: int, signed: bool, channels: int) -> tuple[np.ndarray, bytes]:
    """Values from 0 to the largest one, (S, S, channels), and their file."""
    white = 2 ** (bits - signed) - 1
    values = np.random.default_rng(0).integers(0, white, (SIDE, SIDE, channels), endpoint=True)
    values[0, :2] = np.array([0, white])[:, None]  # black and white, all channels
    stored = values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    stored = stored[:, :, 0] if channels == 1 else stored
    options = {"level": 0, "bitspersample": bits, "codecformat": "jp2"}
    return values, imagecodecs.jpeg2k_encode(stored, **options)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8, 10, 12, 16])
def test_every_depth_is_read_as_the_array_says(bits, signed, channels) -> None:
    if bits == 1 and signed:
        return  # its values are −1 and 0
    values, content = written(bits, signed, channels)
    level = 255 * (values / (2 ** (bits - signed) - 1))
    if channels in (2, 4):
        level = level[..., :-1] * (level[..., -1:] / 255)
    pixels, problems = read(content)
    assert not problems
    wanted = np.broadcast_to(level, (SIDE, SIDE, 3)).transpose(2, 0, 1)
    assert np.abs(pixels[0] - wanted).max() <= (1.01 if bits == 8 and channels in (2, 4) else 0.51)


def test_a_white_is_one_of_the_stored_values() -> None:
    values, content = written(12, False, 3)
    pixels, _ = read(content, white=1000)
    wanted = np.rint(np.clip(values * (255 / 1000), 0, 255)).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels[0], wanted)


def test_values_below_0_are_refused() -> None:
    stored = np.full((SIDE, SIDE), -3, np.int16)
    _, problems = read(imagecodecs.jpeg2k_encode(stored, level=0, bitspersample=12))
    assert "values -3…-3; they must be 0 or more" in problems["file"]


def test_deep_colour_needs_imagecodecs_and_rgb(monkeypatch) -> None:
    _, content = written(16, False, 3)
    place = content.index(b"colr\x01") + 10
    _, problems = read(content[:place] + b"\x12" + content[place + 1 :])
    assert problems["file"] == "JPEG 2000 with YCbCr colours of 16 bits; convert the file to PNG"
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    _, problems = read(content)
    assert "JPEG 2000 with 3 × 16 bits: install `latentlab[tiff]`, or convert" in problems["file"]
    _, problems = read(written(16, False, 1)[1])
    assert not problems
