"""Images of any mode, size and orientation → square uint8, compared with torch's resampling."""

import numpy as np
import pytest
import torch
from PIL import Image

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


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_16_bit_grey_is_scaled_to_8_bits(dtype: str) -> None:
    values = np.array([[0, 128], [32768, 65535]], dtype)
    mode = {"<u2": "I;16", ">u2": "I;16B", "<i4": "I"}[dtype]
    image = Image.frombytes(mode, (2, 2), values.tobytes())
    assert preprocess_image(image, 2, 1).tolist() == [[[0, 0], [128, 255]]]


def test_32_bit_pixels_out_of_range_are_an_error() -> None:
    half = Image.fromarray(np.full((2, 2), 0.2, np.float32))
    assert np.unique(preprocess_image(half, 2, 1)).tolist() == [51]
    for bad in (7.0, np.nan):
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            preprocess_image(Image.fromarray(np.full((2, 2), bad, np.float32)), 2, 1)
    with pytest.raises(ValueError, match="outside 0…65535"):
        preprocess_image(Image.fromarray(np.full((2, 2), 70_000, np.int32)), 2, 1)


def test_exif_orientation_is_applied(tmp_path) -> None:
    pixels = random_pixels(6, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(preprocess_image(image, 6, 1)[0], np.rot90(pixels, -1))
