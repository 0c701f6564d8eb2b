"""Images of any mode, size and orientation → square uint8, compared with torch's resampling."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.preprocessing import preprocess_image, preprocess_images


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("own", "size"), [(28, 32), (28, 8), (8, 28), (33, 16)])
def test_scaling_equals_antialiased_bicubic_of_torch(own: int, size: int) -> None:
    # values far from 0 and 255, because Pillow clips between its two passes and torch after both
    images = 80 + random_pixels(3, 1, own, own) // 3
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images).double(), (size, size), mode="bicubic", antialias=True
    ).clamp(0, 255)
    difference = np.abs(preprocess_images(images, size, None) - expected.numpy())
    assert difference.max() <= 1.01  # fixed point with two roundings, against float64


def test_the_shorter_side_is_scaled_and_the_centre_cropped() -> None:
    wide = Image.fromarray(random_pixels(20, 60, 3))
    scaled = np.asarray(wide.resize((30, 10), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(
        preprocess_image(wide, 10, 3), scaled[:, 10:20].transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(
        preprocess_image(wide.transpose(Image.Transpose.TRANSPOSE), 10, 3),
        scaled[:, 10:20].transpose(2, 1, 0),
    )


def test_a_thin_strip_needs_little_memory() -> None:
    assert preprocess_image(Image.new("L", (40_000, 1), 7), 256, 1).tolist() == [[[7] * 256] * 256]


def test_colour_becomes_luma_and_grey_is_repeated() -> None:
    colour = random_pixels(2, 3, 5, 5)
    luma = np.tensordot([0.299, 0.587, 0.114], colour.astype(float), (0, 1))
    assert np.abs(preprocess_images(colour, None, 1)[:, 0] - luma).max() <= 1
    grey = random_pixels(2, 1, 5, 5)
    np.testing.assert_array_equal(preprocess_images(grey, None, 3), np.repeat(grey, 3, axis=1))
    assert preprocess_images(grey, 5, 1) is grey


def test_the_background_of_transparency_is_white() -> None:
    half_black = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert np.unique(preprocess_image(half_black, 4, 3)).tolist() == [255 - 128]
    clear = Image.new("P", (4, 4), 0)
    clear.info["transparency"] = 0
    assert np.unique(preprocess_image(clear, 4, 1)).tolist() == [255]
    assert np.unique(preprocess_image(Image.new("LA", (4, 4), (9, 255)), 4, 3)).tolist() == [9]


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_to_8_bits(dtype: str) -> None:
    values = np.array([[0, 128], [32768, 65535]], dtype)
    image = Image.frombytes({"<u2": "I;16", ">u2": "I;16B"}[dtype], (2, 2), values.tobytes())
    assert preprocess_image(image, 2, 1).tolist() == [[[0, 0], [128, 255]]]


def test_32_bit_integers_have_the_white_of_their_type() -> None:
    values = np.array([[0, 2**30], [2**31 - 1, 255]], np.int32)
    image = Image.fromarray(values)
    assert preprocess_image(image, 2, 1).tolist() == [[[0, 128], [255, 0]]]
    given = PixelSettings(white=255)
    assert preprocess_image(image, 2, 1, given).tolist() == [[[0, 255], [255, 255]]]


def test_floats_out_of_range_are_an_error() -> None:
    half = Image.fromarray(np.full((2, 2), 0.2, np.float32))
    assert np.unique(preprocess_image(half, 2, 1)).tolist() == [51]
    for bad, message in ((7.0, r"outside \[0, 1\]; set data.white"), (np.nan, "finite")):
        with pytest.raises(ValueError, match=message):
            preprocess_image(Image.fromarray(np.full((2, 2), bad, np.float32)), 2, 1)


def test_pad_keeps_the_whole_image_on_the_background() -> None:
    pixels = random_pixels(20, 60, 3)
    given = PixelSettings(fit="pad", background="#0102ff")
    padded = preprocess_image(Image.fromarray(pixels), 30, 3, given)
    scaled = np.asarray(Image.fromarray(pixels).resize((30, 10), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(padded[:, 10:20], scaled.transpose(2, 0, 1))
    border = np.concatenate([padded[:, :10], padded[:, 20:]], axis=1)
    assert np.unique(border.reshape(3, -1), axis=1).tolist() == [[1], [2], [255]]
    thin = preprocess_image(Image.new("L", (1, 40_000), 7), 16, 1, PixelSettings(fit="pad"))
    assert sorted(np.unique(thin)) == [7, 255]
    square = preprocess_image(Image.fromarray(pixels[:, :20]), 8, 3, given)
    np.testing.assert_array_equal(square, preprocess_image(Image.fromarray(pixels[:, :20]), 8, 3))


def smooth_photo(width: int, height: int) -> Image.Image:
    """A picture with edges and smooth parts, as large as a camera's."""
    y, x = np.mgrid[0:height, 0:width] / 40.0
    waves = [np.sin(x * (1 + c / 3)) * np.cos(y / (1 + c)) * 90 + 128 for c in range(3)]
    pixels = np.stack(waves, axis=2)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 60)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1603, 1200), (1203, 1601)])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_large_jpeg_is_decoded_at_a_fraction_with_the_same_result(
    width, height, fit, turned
) -> None:
    target = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = turned
    smooth_photo(width, height).save(target, "jpeg", quality=92, exif=exif)
    given = PixelSettings(fit=fit)
    image = Image.open(target)
    drafted = preprocess_image(image, 24, 3, given).astype(int)
    whole = Image.open(target)
    whole.load()
    exact = preprocess_image(whole, 24, 3, given)
    difference = np.abs(drafted - exact)
    assert difference.max() <= 1
    assert (image.size == whole.size) == bool(width % 8 or height % 8)


def test_exif_orientation_is_applied(tmp_path) -> None:
    pixels = random_pixels(6, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(preprocess_image(image, 6, 1)[0], np.rot90(pixels, -1))
