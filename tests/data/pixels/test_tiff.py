"""TIFF files of every type, written by tifffile: each is read as the array says, or refused."""

import io
import itertools
import re
import sys

import numpy as np
import pytest
from PIL import Image

from latentlab.data.decoding import decode_into
from latentlab.data.pixels.frames import open_frames
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.pixels.tiff import read_pages
from latentlab.data.pixels.values import RawImage
from latentlab.data.problems import strict_pillow

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

SIDE = 8
TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32")
TYPES += ("float64",)
LAYOUTS = (("minisblack", None), ("miniswhite", None), ("rgb", "contig"), ("rgb", "separate"))
COMPRESSIONS = (None, "deflate", "lzw", "packbits", "zstd", "lzma")


def values_of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values from 0 to the largest one."""
    generator = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    if kind.kind == "f":
        return generator.random(shape).astype(kind)
    white = np.iinfo(kind).max
    values = generator.integers(0, white, shape, kind, endpoint=True)
    values.flat[:2] = 0, white
    return values


def expected(values: np.ndarray, photometric: str) -> np.ndarray:
    """255 · value / white, inverted if 0 is white."""
    white = 1 if values.dtype.kind in "fb" else np.iinfo(values.dtype).max
    level = 255 * (values.astype(np.float64) / white)
    return np.rint(255 - level if photometric == "miniswhite" else level)


def read(content: bytes, **settings) -> tuple[np.ndarray, dict[str, str]]:
    """The image (C, S, S) of a file, and the reason if it cannot be read."""

    def array(count: int) -> np.ndarray:
        return np.zeros((count, 3, SIDE, SIDE), np.uint8)

    given = PixelSettings(**settings)
    decoded = decode_into(["file"], lambda _row: io.BytesIO(content), array, given)
    return decoded.pixels, decoded.problems


def written(values: np.ndarray, **options) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(target, values, metadata=None, **options)
    return target.getvalue()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(("photometric", "planes"), LAYOUTS)
def test_every_type_is_read_as_the_array_says(photometric, planes, compression) -> None:
    for dtype, order in itertools.product(TYPES, "<>"):
        if photometric == "rgb" and dtype == "bool":
            continue
        shape = {None: (SIDE, SIDE), "contig": (SIDE, SIDE, 3), "separate": (3, SIDE, SIDE)}[planes]
        values = values_of(dtype, shape)
        options = {"photometric": photometric, "planarconfig": planes, "byteorder": order}
        pixels, problems = read(written(values, compression=compression, **options))
        assert not problems, (dtype, order)
        wanted = expected(values, photometric)
        if planes != "separate":
            wanted = np.broadcast_to(wanted.reshape(SIDE, SIDE, -1), (SIDE, SIDE, 3))
            wanted = wanted.transpose(2, 0, 1)
        difference = np.abs(pixels[0] - wanted).max()
        assert difference <= (0.5 if dtype != "float16" else 1), (dtype, order)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_predictors_and_tiles(dtype, order) -> None:
    values = values_of(dtype, (32, 32))
    for options in (
        {"compression": "deflate", "predictor": True},
        {"compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True},
    ):
        content = written(values, byteorder=order, photometric="minisblack", **options)
        with strict_pillow(), open_frames(io.BytesIO(content)) as frames:
            image = frames.read(0).content
            found = image.values if isinstance(image, RawImage) else np.asarray(image)
        np.testing.assert_array_equal(found, values)


def test_negative_values_are_refused() -> None:
    for dtype in ("int8", "int16", "int32", "float32"):
        values = np.full((SIDE, SIDE), -50).astype(dtype)
        for order in "<>":
            _, problems = read(written(values, byteorder=order, photometric="minisblack"))
            assert "values -50…-50; they must be 0 or more" in problems["file"], dtype


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_state_their_white(bits) -> None:
    values = np.linspace(0, 2**bits - 1, SIDE * SIDE).round().astype(np.uint16).reshape(SIDE, SIDE)
    digits = "".join(f"{value:0{bits}b}" for value in values.ravel())  # rows end at whole bytes
    packed = int(digits, 2).to_bytes(len(digits) // 8, "big")
    tags = [(256, SIDE), (257, SIDE), (258, bits), (259, 1), (262, 1), (273, 0), (277, 1)]
    tags += [(278, SIDE), (279, len(packed))]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        number.to_bytes(2, "little")
        + (4).to_bytes(2, "little")
        + (1).to_bytes(4, "little")
        + (start if number == 273 else value).to_bytes(4, "little")
        for number, value in tags
    )
    head = b"II*\0" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little")
    content = head + entries + bytes(4) + bytes(packed)
    pixels, problems = read(content)
    assert not problems
    np.testing.assert_array_equal(pixels[0, 0], np.rint(values * (255 / (2**bits - 1))))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("alpha", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_laid_over_the_background(dtype, alpha, channels) -> None:
    values = values_of(dtype, (SIDE, SIDE, channels + 1))
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    if alpha == "assocalpha":
        values[..., :channels] = np.minimum(values[..., :channels], values[..., channels:])
    photometric = "rgb" if channels == 3 else "minisblack"
    options = {"photometric": photometric, "planarconfig": "contig", "extrasamples": [alpha]}
    pixels, problems = read(written(values, **options), background="black")
    assert not problems
    level = values.astype(np.float64) / white
    colour, opacity = level[..., :channels], level[..., channels:]
    wanted = 255 * (colour if alpha == "assocalpha" else colour * opacity)
    wanted = np.broadcast_to(wanted, (SIDE, SIDE, 3)).transpose(2, 0, 1)
    assert np.abs(pixels[0] - wanted).max() <= (1.01 if dtype == "uint8" else 0.51)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((SIDE, SIDE, 2), {"photometric": "minisblack"}, "2 values a pixel are neither grey"),
        ((SIDE, SIDE, 5), {"photometric": "minisblack"}, "5 values a pixel are neither grey"),
        ((SIDE, SIDE, 4), {"photometric": "separated"}, "CMYK.* neither grey nor RGB"),
        ((SIDE, SIDE, 3), {"photometric": "cielab"}, "LAB.* neither grey nor RGB"),
    ],
)
def test_what_is_neither_grey_nor_colour_is_refused_by_name(shape, options, message) -> None:
    values = values_of("uint16", shape)
    _, problems = read(written(values, planarconfig="contig", **options))
    assert re.search(message, problems["file"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("channels", "photometric"), [(2, "minisblack"), (5, "minisblack"), (5, "rgb"), (6, "rgb")]
)
def test_channels_beside_the_colours_are_refused_at_every_depth(
    channels, photometric, dtype
) -> None:
    values = values_of(dtype, (SIDE, SIDE, channels))
    _, problems = read(written(values, planarconfig="contig", photometric=photometric))
    assert f"{channels} values a pixel are neither grey nor RGB; split" in problems["file"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("tag", [338, 337])  # 337: without ExtraSamples, which is 338
def test_a_fourth_channel_that_is_no_alpha_is_counted_and_not_used(dtype, tag) -> None:
    values = values_of(dtype, (SIDE, SIDE, 4))
    options = {"photometric": "rgb", "planarconfig": "contig", "extrasamples": ["unspecified"]}
    content = written(values, **options)
    entry = (338).to_bytes(2, "little") + (3).to_bytes(2, "little")
    assert content.count(entry) == 1
    content = content.replace(entry, tag.to_bytes(2, "little") + entry[2:])
    decoded = decode_into(
        ["file"],
        lambda _row: io.BytesIO(content),
        lambda count: np.zeros((count, 3, SIDE, SIDE), np.uint8),
        PixelSettings(),
    )
    wanted = expected(values[..., :3], "rgb").transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded.pixels[0], wanted)
    assert decoded.infos["file"].unused_channels == 1


def test_orientation_of_tags_is_applied() -> None:
    values = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    values[0, 0] = 255
    for dtype, white in (("uint8", 255), ("uint16", 65535), ("float64", 1)):
        stored = (values * (white / 255)).astype(dtype)
        tag = [(274, "H", 1, 6, True)]  # rotate by 90 degrees clockwise
        pixels, problems = read(written(stored, photometric="minisblack", extratags=tag))
        assert not problems
        np.testing.assert_array_equal(pixels[0, 0], np.rot90(values, -1))


def pyramid() -> bytes:
    """Two pages, each with a smaller copy of it as a page of its own."""
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as file:
        for value in (10, 20):
            page = np.full((16, 16), value, np.uint8)
            file.write(page, photometric="minisblack", metadata=None)
            file.write(page[::2, ::2], photometric="minisblack", subfiletype=1, metadata=None)
    return target.getvalue()


def test_smaller_copies_are_no_pages() -> None:
    assert [page.index for page in read_pages(io.BytesIO(pyramid()))] == [0, 2]
    pixels, problems = read(pyramid(), frames="all")
    assert not problems
    assert pixels[:, 0, 0, 0].tolist() == [10, 20]


def test_without_tifffile_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    content = written(values_of("uint16", (SIDE, SIDE, 3)), photometric="rgb")
    _, problems = read(content)
    assert "TIFF RGB, 3 × 16 bits unsigned: install `latentlab[tiff]`" in problems["file"]
    _, problems = read(written(values_of("uint16", (SIDE, SIDE)), photometric="minisblack"))
    assert not problems


@pytest.mark.parametrize("cut", [9, 60, 150])
def test_damaged_files_have_a_reason(cut) -> None:
    content = written(values_of("float64", (SIDE, SIDE)), photometric="minisblack")
    _, problems = read(content[:cut])
    assert problems["file"]


def test_a_cycle_of_pages_ends() -> None:
    content = bytearray(written(values_of("uint8", (SIDE, SIDE)), photometric="minisblack"))
    first = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[first : first + 2], "little")
    end = first + 2 + 12 * count
    content[end : end + 4] = first.to_bytes(4, "little")
    _, problems = read(bytes(content))
    assert problems["file"] == "the TIFF file has a damaged chain of pages"


def test_pages_of_pillow_are_frames(tmp_path) -> None:
    pages = [Image.new("L", (SIDE, SIDE), value) for value in (1, 2, 3)]
    target = io.BytesIO()
    pages[0].save(target, "tiff", save_all=True, append_images=pages[1:])
    pixels, _ = read(target.getvalue(), frames="all")
    assert pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
