"""Many files: the white level of a data set, frames, records of the files, order and gaps."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentlab.data.decoding import Decoded, decode_files, decode_into
from latentlab.data.pixels.info import DecodedInfo
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.settings import DataSettings
from latentlab.utils.errors import LatentlabError

TWELVE_BITS = np.tile(np.linspace(0, 4095, 16).astype(np.uint16), (16, 1))


def encoded(pixels: np.ndarray, kind: str = "png", **options) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def decode(files: dict[str, bytes], size: int = 16, **settings) -> Decoded[np.ndarray]:
    contents = list(files.values())

    def array(count: int) -> np.ndarray:
        return np.zeros((count, 1, size, size), np.uint8)

    given = PixelSettings(**settings)
    return decode_into(list(files), lambda row: io.BytesIO(contents[row]), array, given)


def animation(values: list[int], kind: str = "gif") -> bytes:
    frames = [Image.new("L", (16, 16), value) for value in values]
    target = io.BytesIO()
    frames[0].save(target, kind, save_all=True, append_images=frames[1:])
    return target.getvalue()


def test_the_white_of_12_bits_in_16_is_asked_for() -> None:
    with pytest.raises(
        LatentlabError,
        match=r"1 file has integers up to 65535 .* largest value is 4095: a.png\. "
        r"Set data.white .* for example 4095, or to 65535 if the images are so dark",
    ):
        decode({"a.png": encoded(TWELVE_BITS)})
    pixels = decode({"a.png": encoded(TWELVE_BITS)}, white=4095).pixels
    np.testing.assert_array_equal(pixels[0, 0], np.rint(TWELVE_BITS * (255 / 4095)))
    assert (pixels.min(), pixels.max()) == (0, 255)
    dark = decode({"a.png": encoded(TWELVE_BITS)}, white=65535).pixels
    assert dark.max() == 16


@pytest.mark.parametrize("white", ["100%", "100 %"])
def test_a_percentile_is_that_of_each_image(white) -> None:
    files = {"a": encoded(TWELVE_BITS), "b": encoded(TWELVE_BITS // 2)}
    pixels = decode(files, white=white).pixels
    assert [image.max() for image in pixels] == [255, 255]
    half = decode({"a": encoded(TWELVE_BITS)}, white="50%").pixels
    middle = np.percentile(TWELVE_BITS, 50)
    np.testing.assert_array_equal(
        half[0, 0], np.rint(np.clip(TWELVE_BITS * (255 / middle), 0, 255))
    )


@pytest.mark.parametrize(
    "content",
    [
        encoded(np.full((16, 16), 255, np.uint16), "tiff"),
        encoded(np.full((16, 16), 255, np.int32), "tiff"),
        encoded(np.full((16, 16), 255, np.uint16), "jpeg2000", irreversible=False),
        encoded(np.full((16, 16), 255, np.uint16), "ppm"),
        b"P6 16 16 65535 " + bytes([0, 255]) * 3 * 256,
        b"P2 16 16 65535 " + b"255 " * 256,
    ],
)
def test_every_deep_format_asks_for_its_white(content) -> None:
    with pytest.raises(LatentlabError, match=r"their largest value is 255: a.* Set data.white"):
        decode({"a": content})
    assert np.unique(decode({"a": content}, white=255).pixels).tolist() == [255]


@pytest.mark.parametrize("kind", ["P5", "P6"])
def test_the_white_that_a_pgm_states_is_taken(kind) -> None:
    channels = 3 if kind == "P6" else 1
    values = np.repeat(TWELVE_BITS[:, :, None] // 5, channels, axis=2).astype(">u2")
    content = f"{kind}\n# a comment\n16 16\n4095\n".encode() + values.tobytes()
    pixels = decode({"a.pgm": content}).pixels
    np.testing.assert_array_equal(pixels[0, 0], np.rint(values[:, :, 0] * (255 / 4095)))


def test_one_dark_file_among_bright_ones_is_dark() -> None:
    full = np.full((16, 16), 65535, np.uint16)
    decoded = decode({"dark": encoded(TWELVE_BITS), "full": encoded(full)})
    assert decoded.pixels[0].max() == 16
    assert decoded.whites == (65535,)
    alone = decode({"dark": encoded(TWELVE_BITS)}, known_whites=(65535,))
    np.testing.assert_array_equal(alone.pixels[0], decoded.pixels[0])
    with pytest.raises(LatentlabError, match=r"Set data.white"):  # 8 bits say nothing on 16
        decode({"dark": encoded(TWELVE_BITS), "8": encoded(np.full((16, 16), 255, np.uint8))})


def test_white_changes_files_of_8_bits_only_below_255() -> None:
    grey = encoded(np.full((16, 16), 15, np.uint8))
    assert decode({"a": grey}, white=4095).pixels.max() == 15
    assert decode({"a": grey}, white=30).pixels.max() == 128  # 127.5 to even
    colour = encoded(np.full((16, 16, 4), 15, np.uint8))
    opaque = encoded(np.dstack([np.full((16, 16, 3), 15, np.uint8), np.full((16, 16), 255, "u1")]))
    assert decode({"a": opaque}, white=15).pixels.max() == 255
    assert decode({"a": colour}, white=15, background=0).pixels.max() == 15  # 255 · 15 / 255


def test_floats_need_a_white_above_1() -> None:
    given = np.tile(np.linspace(0, 200, 16, dtype=np.float32), (16, 1))
    content = encoded(given, "tiff")
    reason = decode({"a": content}).problems["a"]
    assert "float values 0…200 outside [0, 1]; set data.white" in reason
    pixels = decode({"a": content}, white=200).pixels
    np.testing.assert_array_equal(pixels[0, 0], np.rint(given * (255 / 200)))


def test_frames_are_dropped_and_counted_or_read() -> None:
    files = {"a.gif": animation([0, 60, 120]), "b.png": encoded(np.full((16, 16), 9, np.uint8))}
    first = decode(files)
    assert first.names == first.files == ["a.gif", "b.png"]
    assert first.infos["a.gif"].frames == 3
    assert first.infos["a.gif"].dropped == 2
    every = decode(files, frames="all")
    assert every.names == ["a.gif#1", "a.gif#2", "a.gif#3", "b.png"]
    assert every.files == ["a.gif", "a.gif", "a.gif", "b.png"]
    assert every.rows == [0, 0, 0, 1]
    assert every.pixels[:, 0, 0, 0].tolist() == [0, 60, 120, 9]
    assert all(info.dropped == 0 for info in every.infos.values())


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "gif", "avif"])
def test_frames_of_every_animated_format(kind) -> None:
    pixels = decode({"a": animation([0, 100, 200], kind)}, frames="all").pixels
    np.testing.assert_allclose(pixels[:, 0, 8, 8], [0, 100, 200], atol=3)


def test_sizes_of_an_icon_are_no_frames() -> None:
    target = io.BytesIO()
    Image.new("RGB", (32, 32), (7, 7, 7)).save(target, "ico", sizes=[(16, 16), (32, 32)])
    decoded = decode({"a.ico": target.getvalue()}, frames="all")
    assert decoded.names == ["a.ico"]
    assert (decoded.infos["a.ico"].width, decoded.infos["a.ico"].frames) == (32, 1)


def test_the_largest_value_is_that_of_all_frames() -> None:
    pages = [Image.fromarray(TWELVE_BITS), Image.fromarray(TWELVE_BITS * 16)]
    target = io.BytesIO()
    pages[0].save(target, "tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(LatentlabError, match="largest value is 4095"):
        decode({"a": target.getvalue()})
    decoded = decode({"a": target.getvalue()}, frames="all")
    assert decoded.infos["a"].largest == 4095 * 16
    assert decoded.pixels.max(axis=(1, 2, 3)).tolist() == [16, 255]


def test_unreadable_files_leave_no_gap() -> None:
    images = [encoded(np.full((16, 16), value, np.uint8)) for value in (1, 2, 3)]
    for frames in ("first", "all"):
        files = {"a": images[0], "bad": b"no image", "b": images[1], "cut": images[2][:45]}
        decoded = decode(files | {"c": images[2]}, frames=frames)
        assert decoded.names == ["a", "b", "c"]
        assert decoded.rows == [0, 2, 4]
        assert decoded.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
        assert set(decoded.problems) == {"bad", "cut"}


def test_records_have_the_upright_size_and_type(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(np.zeros((10, 20, 3), np.uint8), exif=exif)
    deep = encoded(np.full((16, 16), 65535, np.uint16))
    bit = encoded(np.zeros((16, 16), bool))
    infos = decode({"turned": turned, "deep": deep, "bit": bit}).infos
    assert infos["turned"] == DecodedInfo(10, 20, "RGB")
    assert infos["deep"] == DecodedInfo(16, 16, "uint16 grey", 16, white=65535, largest=65535)
    assert infos["bit"] == DecodedInfo(16, 16, "1", 1)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    content = encoded(np.zeros((30, 20), np.uint8))
    before = Image.MAX_IMAGE_PIXELS
    assert decode({"a": content}, max_pixels=600).names == ["a"]
    assert "data.max_pixels" in decode({"a": content}, max_pixels=599).problems["a"]
    assert before == Image.MAX_IMAGE_PIXELS
    deep = encoded(np.full((30, 20), 65535, np.uint16), "tiff")
    reason = decode({"a": deep}, max_pixels=599).problems["a"]
    assert reason == "20 × 30 pixels are more than data.max_pixels 599"


def test_decoded_files_are_on_disk(tmp_path) -> None:
    Image.new("L", (5, 5), 8).save(tmp_path / "a.png")
    settings = DataSettings(name="image_folder", size=4, channels=1)
    decoded = decode_files(["a.png"], lambda _row: Path(tmp_path, "a.png"), settings, tmp_path)
    assert np.unique(decoded.pixels[:]).tolist() == [8]
    assert replace(settings, white="99%").pixels.percentile == 99
