"""Images of any mode, size and orientation become square uint8; torch's resampling is the judge."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.data.pixels import fit_image, fit_pixels


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("own", "size"), [(28, 32), (28, 8), (8, 28), (33, 16)])
def test_scaling_is_the_antialiased_bicubic_of_torch(own: int, size: int) -> None:
    # grey enough not to overshoot: Pillow clips between its two passes, torch after both
    images = 80 + random_pixels(3, 1, own, own) // 3
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images).double(), (size, size), mode="bicubic", antialias=True
    ).clamp(0, 255)
    difference = np.abs(fit_pixels(images, size, None) - expected.numpy())
    assert difference.max() <= 1.01  # fixed point with two roundings, against float64


def test_shorter_side_is_scaled_and_the_centre_kept() -> None:
    wide = Image.fromarray(random_pixels(20, 60, 3))
    whole = np.asarray(wide.resize((30, 10), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(fit_image(wide, 10, 3), whole[:, 10:20].transpose(2, 0, 1))
    np.testing.assert_array_equal(
        fit_image(wide.transpose(Image.Transpose.TRANSPOSE), 10, 3),
        whole[:, 10:20].transpose(2, 1, 0),
    )


def test_a_thin_strip_does_not_explode() -> None:
    assert fit_image(Image.new("L", (40_000, 1), 7), 256, 1).tolist() == [[[7] * 256] * 256]


def test_channels_change_by_luma_and_by_repetition() -> None:
    colour = random_pixels(2, 3, 5, 5)
    luma = np.tensordot([0.299, 0.587, 0.114], colour.astype(float), (0, 1))
    assert np.abs(fit_pixels(colour, None, 1)[:, 0] - luma).max() <= 1
    grey = random_pixels(2, 1, 5, 5)
    np.testing.assert_array_equal(fit_pixels(grey, None, 3), np.repeat(grey, 3, axis=1))
    assert fit_pixels(grey, 5, 1) is grey


def test_transparency_lies_over_white() -> None:
    half_black = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert np.unique(fit_image(half_black, 4, 3)).tolist() == [255 - 128]
    clear = Image.new("P", (4, 4), 0)
    clear.info["transparency"] = 0
    assert np.unique(fit_image(clear, 4, 1)).tolist() == [255]
    assert np.unique(fit_image(Image.new("LA", (4, 4), (9, 255)), 4, 3)).tolist() == [9]


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_sixteen_bit_grey_is_scaled_not_clipped(dtype: str) -> None:
    values = np.array([[0, 128], [32768, 65535]], dtype)
    mode = {"<u2": "I;16", ">u2": "I;16B", "<i4": "I"}[dtype]
    image = Image.frombytes(mode, (2, 2), values.tobytes())
    assert fit_image(image, 2, 1).tolist() == [[[0, 0], [128, 255]]]


def test_float_pixels_must_say_where_white_is() -> None:
    half = Image.fromarray(np.full((2, 2), 0.2, np.float32))
    assert np.unique(fit_image(half, 2, 1)).tolist() == [51]
    for bad in (7.0, np.nan):
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            fit_image(Image.fromarray(np.full((2, 2), bad, np.float32)), 2, 1)
    with pytest.raises(ValueError, match="outside 0…65535"):
        fit_image(Image.fromarray(np.full((2, 2), 70_000, np.int32)), 2, 1)


def test_exif_orientation_is_applied(tmp_path) -> None:
    pixels = random_pixels(6, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(fit_image(image, 6, 1)[0], np.rot90(pixels, -1))
