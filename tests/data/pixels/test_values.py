"""Random images of every mode and format that Pillow writes, compared with numpy's conversion."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from latentlab.data.decoding import decode_into
from latentlab.data.pixels.settings import PixelSettings

LUMA = np.array([0.299, 0.587, 0.114])
# (format, mode): every lossless pair that Pillow 13 writes, without the deprecated IM. The fourth
# channel of its BMP files is reserved, so it is no alpha.
LOSSLESS = [
    *[("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("TIFF", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "I;16")],
    *[("TIFF", mode) for mode in ("I", "F")],
    *[("BMP", mode) for mode in ("1", "L", "P", "RGB")],
    *[("PPM", mode) for mode in ("1", "L", "RGB", "I;16")],
    *[("TGA", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
    *[("GIF", mode) for mode in ("1", "L", "P")],
    *[("PCX", mode) for mode in ("1", "L", "P", "RGB")],
    *[("SGI", mode) for mode in ("L", "RGB", "RGBA")],
    *[("JPEG2000", mode) for mode in ("L", "LA", "RGB", "RGBA", "I;16")],
    *[("DDS", mode) for mode in ("L", "LA", "RGB", "RGBA")],
    *[("SPIDER", mode) for mode in ("F",)],
    *[("QOI", mode) for mode in ("RGB", "RGBA")],
]
BACKGROUND = (10, 200, 90)
KNOWN = (65535, 2**31 - 1)


def random_image(mode: str, seed: int, side: int) -> Image.Image:
    """An image of random values, also 0 and the largest one."""
    generator = np.random.default_rng(seed)
    shape = (side, side)
    if mode == "1":
        return Image.fromarray(generator.integers(0, 2, shape).astype(bool))
    if mode == "I;16":
        return Image.fromarray(generator.integers(0, 65536, shape, dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(generator.integers(0, 2**31, shape, dtype=np.int32))
    if mode == "F":
        return Image.fromarray(generator.random(shape, dtype=np.float32))
    channels = {"L": 1, "P": 1, "LA": 2, "RGB": 3}.get(mode, 4)
    values = generator.integers(0, 256, (*shape, channels), dtype=np.uint8)
    if mode == "P":
        image = Image.frombytes("P", shape, values.tobytes())
        image.putpalette(generator.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return image
    return Image.frombytes(mode, shape, values.tobytes())


def expected(image: Image.Image) -> np.ndarray:
    """The colours (H, W, 3) in 0…255, by the definition of the mode."""
    values = np.asarray(image).astype(np.float64)
    mode = image.mode
    if mode == "P":
        palette = np.array(image.getpalette(), np.float64).reshape(-1, 3)
        return palette[np.asarray(image)]
    white = {"1": 1, "I;16": 65535, "I": 2**31 - 1, "F": 1}.get(mode, 255)
    values = 255 / white * values
    values = values[:, :, None] if values.ndim == 2 else values
    if mode == "CMYK":
        return (255 - values[..., :3]) * (255 - values[..., 3:]) / 255
    if mode in ("LA", "RGBA"):
        opacity = values[..., -1:] / 255
        return values[..., :-1] * opacity + np.array(BACKGROUND) * (1 - opacity)
    return np.broadcast_to(values[..., :3], (*values.shape[:2], 3))


def read(content: bytes, side: int, channels: int = 3, **given) -> np.ndarray:
    def array(count: int) -> np.ndarray:
        return np.zeros((count, channels, side, side), np.uint8)

    wanted = PixelSettings(background="#0ac85a", known_whites=KNOWN, **given)
    decoded = decode_into(["file"], lambda _row: io.BytesIO(content), array, wanted)
    assert not decoded.problems
    return decoded.pixels[0].astype(np.float64)


@pytest.mark.parametrize(("kind", "mode"), LOSSLESS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(1, 40))
def test_every_mode_is_read_as_numpy_converts_it(kind, mode, seed, side) -> None:
    image = random_image(mode, seed, side)
    target = io.BytesIO()
    options = {"irreversible": False, "num_resolutions": 1} if kind == "JPEG2000" else {}
    image.save(target, kind, **options)
    wanted = expected(image)
    colour = read(target.getvalue(), side)
    limit = 1.01 if mode in ("LA", "RGBA", "CMYK") else 0.51
    assert np.abs(colour.transpose(1, 2, 0) - wanted).max() <= limit
    grey = read(target.getvalue(), side, channels=1)
    assert np.abs(grey[0] - wanted @ LUMA).max() <= limit + 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_level_of_a_grey_png_shows_the_background(bits) -> None:
    white = 2**bits - 1
    values = np.linspace(0, white, 16).round().astype(int).reshape(4, 4)
    key = int(values[2, 1])
    pixels = read(grey_png(values, bits, key), 4)
    wanted = np.repeat((255 / white * values)[:, :, None], 3, axis=2)
    wanted[values == key] = BACKGROUND
    assert np.abs(pixels.transpose(1, 2, 0) - wanted).max() <= 0.5


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_shows_the_background(bits) -> None:
    white = 2**bits - 1
    values = np.random.default_rng(0).integers(0, white, (4, 4, 3), endpoint=True)
    key = values[1, 2]
    pixels = read(png(values, bits, 2, key), 4)
    wanted = 255 / white * values
    wanted[1, 2] = BACKGROUND
    assert np.abs(pixels.transpose(1, 2, 0) - wanted).max() <= 0.5


@pytest.mark.parametrize("white", [100, "100%"])
def test_a_white_is_also_that_of_a_palette(white) -> None:
    values = np.random.default_rng(0).integers(0, 101, (8, 8), dtype=np.uint8)
    values[0, 0] = 100
    wanted = np.broadcast_to(np.rint(values * 2.55)[:, :, None], (8, 8, 3)).transpose(2, 0, 1)
    for mode, kind in (("L", "PNG"), ("P", "PNG"), ("P", "GIF"), ("P", "TIFF")):
        target = io.BytesIO()
        Image.fromarray(values).convert(mode).save(target, kind)
        np.testing.assert_array_equal(read(target.getvalue(), 8, white=white), wanted)


@pytest.mark.parametrize("white", [None, 9, 15, 200])
def test_a_white_is_one_of_the_stored_values_of_few_bits(white) -> None:
    """Pillow scales 4 bits to 8: then a white of 15 would be reached by nearly all values."""
    values = np.arange(16).reshape(4, 4)
    largest = white if white in (9, 15) else 15  # a value that 4 bits cannot hold changes nothing
    level = np.rint(np.clip(values * (255 / largest), 0, 255))
    files = [png(values[:, :, None], 4, 0, None), b"P5 4 4 15 " + bytes(range(16))]
    files += [b"P2 4 4 15 " + b" ".join(b"%d" % value for value in range(16)), grey_tiff(values, 1)]
    for content in files:
        np.testing.assert_array_equal(read(content, 4, white=white)[0], level)
    np.testing.assert_array_equal(read(grey_tiff(values, 0), 4, white=white)[0], 255 - level)


def grey_tiff(values: np.ndarray, photometric: int) -> bytes:
    """A TIFF file of 4 bits; rows of an even number of pixels."""
    packed = bytes(int(high * 16 + low) for high, low in values.reshape(-1, 2))
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 4), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(packed))]
    entries = [struct.pack("<HHII", number, 4, 1, value) for number, value in tags]
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory


def grey_png(values: np.ndarray, bits: int, key: int) -> bytes:
    return png(values[:, :, None], bits, 0, np.array([key]))


def png(values: np.ndarray, bits: int, colour_type: int, key: np.ndarray | None) -> bytes:
    """A PNG file, with a transparent colour if `key`, written by the specification."""
    height, width, _ = values.shape
    rows = b""
    for row in values.reshape(height, -1).tolist():
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + check

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = size + bytes([bits, colour_type, 0, 0, 0])
    chunks = chunk(b"IHDR", header)
    if key is not None:
        chunks += chunk(b"tRNS", b"".join(int(value).to_bytes(2, "big") for value in key))
    chunks += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
