"""Image formats: every image is coded alike, alone or among others, and lossless is lossless."""

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.tasks.common import image_codecs


def colours(count, side=16):
    """Plain images of strong colours: nothing inside of an image is lost by JPEG."""
    g = torch.Generator().manual_seed(0)
    colour = torch.randint(0, 2, (count, 3, 1, 1), generator=g) * 255
    return colour.to(torch.uint8).expand(-1, -1, side, side).contiguous()


def noise(*shape):
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, generator=g).to(torch.uint8)


def decoded(images, quality):
    return image_codecs.read_jpeg(image_codecs.jpeg(images, quality), images.shape)


@pytest.mark.parametrize("images", [colours(7), noise(5, 3, 10, 12), noise(4, 1, 9, 8)])
def test_an_image_of_a_jpeg_file_is_the_same_alone_and_among_others(images):
    among = decoded(images, 90)
    alone = torch.cat([decoded(image[None], 90) for image in images])
    assert among.shape == images.shape
    assert torch.equal(among, alone)


def test_colours_do_not_run_into_the_next_image():
    images = colours(7)
    assert (decoded(images, 90).int() - images.int()).abs().max() <= 3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 5, 9])
def test_lossless_files_hold_all_images_in_order(channels, count):
    images = noise(count, channels, 6, 7)
    stored = zlib.decompress(image_codecs.by_zlib(images))
    assert stored == images.numpy().tobytes()
    for encode in (image_codecs.by_png, image_codecs.by_webp):
        sheet = Image.open(io.BytesIO(encode(images)))
        pixels = np.array(sheet if channels == 3 else sheet.convert("L"))
        assert torch.equal(image_codecs.cut_sheet(pixels, images.shape), images)


def test_sizes_are_those_of_the_files_and_what_is_absent_is_left_out():
    images = noise(9, 1, 8, 8)
    sizes = image_codecs.lossless_sizes(images)
    assert {"zlib", "PNG", "WebP"} <= set(sizes)
    assert sizes["PNG"] == len(image_codecs.by_png(images))
    large = torch.zeros(1, 1, 2, 20_000, dtype=torch.uint8)  # WebP has at most 16,383 columns
    assert {"zlib", "PNG"} <= set(image_codecs.lossless_sizes(large))
    assert "WebP" not in image_codecs.lossless_sizes(large)
