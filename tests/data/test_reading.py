"""Files for a trained model are read as the training images were."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from image_files import write_grey
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.reading import read_images, read_pillow
from latentlab.utils.errors import LatentlabError

GREY = (1, 4, 4)


def test_files_and_folders_in_order(tmp_path) -> None:
    for value, name in enumerate(["cat/a.png", "cat/deep/b.jpg", "dog/c.bmp"]):
        write_grey(tmp_path / "images" / name, 40 * value)
    write_grey(tmp_path / "one.png", 255)
    names, x = read_images([tmp_path / "one.png", tmp_path / "images"], GREY)
    assert [name.removeprefix(str(tmp_path)) for name in names] == [
        "/one.png",
        "/images/cat/a.png",
        "/images/cat/deep/b.jpg",
        "/images/dog/c.bmp",
    ]
    assert x.shape == (4, 1, 4, 4)
    means = torch.tensor([255, 0, 40, 80]) / 255
    torch.testing.assert_close(x.mean((1, 2, 3)), means, atol=2 / 255, rtol=0)


def test_missing_files_and_empty_folders_are_an_error(tmp_path) -> None:
    with pytest.raises(LatentlabError, match=r"1 file cannot be read: .*missing.png"):
        read_images([tmp_path / "missing.png"], GREY)
    with pytest.raises(LatentlabError, match=r"There are no images in .*"):
        read_images([tmp_path], GREY)


def test_the_settings_of_the_training_are_used(tmp_path) -> None:
    values = np.full((4, 8), 4095, np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(LatentlabError, match=r"largest value is 4095: .*a.png. Set data.white"):
        read_images([tmp_path], GREY)
    _, x = read_images([tmp_path], GREY, PixelSettings(white=4095, fit="pad", background=51))
    assert x[0, 0].tolist() == [
        [pytest.approx(0.2)] * 4,
        [1] * 4,
        [1] * 4,
        [pytest.approx(0.2)] * 4,
    ]
    _, x = read_images([tmp_path], GREY, PixelSettings(known_whites=(65535,)))
    assert x.max().item() == pytest.approx(16 / 255)


def test_frames_of_a_file_are_images(tmp_path) -> None:
    pages = [Image.new("L", (4, 4), value) for value in (51, 102)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert len(read_images([tmp_path / "a.tif"], GREY)[1]) == 1
    names, x = read_images([tmp_path / "a.tif"], GREY, PixelSettings(frames="all"))
    assert [name.rpartition("/")[2] for name in names] == ["a.tif#1", "a.tif#2"]
    torch.testing.assert_close(x[:, 0, 0, 0], torch.tensor([0.2, 0.4]))


def test_a_pillow_image_is_read_like_its_file(tmp_path) -> None:
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        with pytest.raises(LatentlabError, match=r"A Pillow image. Set data.white"):
            read_pillow(image, GREY, PixelSettings())
        assert read_pillow(image, GREY, PixelSettings(white=4095)).unique().tolist() == [1]
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "a.tif")
    with (
        Image.open(tmp_path / "a.tif") as image,
        pytest.raises(LatentlabError, match="cannot be used: Pillow may misread this TIFF"),
    ):
        read_pillow(image, GREY, PixelSettings())


def test_an_open_tiff_with_a_channel_that_pillow_drops_is_refused() -> None:
    tifffile = pytest.importorskip("tifffile")
    for channels, photometric in ((2, "minisblack"), (4, "rgb")):
        target = io.BytesIO()
        values = np.zeros((8, 8, channels), np.uint8)
        options = {"photometric": photometric, "extrasamples": ["unspecified"]}
        tifffile.imwrite(target, values, **options)
        with Image.open(target) as image, pytest.raises(LatentlabError, match="give its path"):
            read_pillow(image, (3, 8, 8), PixelSettings())
