"""A folder of images, before a project uses it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentlab.data.settings import DataSettings
from latentlab.data.sources import load_source
from latentlab.planning.project import split_counts
from latentlab.planning.survey import survey, useful_size
from latentlab.utils.errors import LatentlabError


def write(folder, count=30, *, size=(50, 40), grey=False, mode="RGB", name="{}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (size[1], size[0], 1 if grey else 3), np.uint8)
        image = Image.fromarray(np.broadcast_to(pixels, (size[1], size[0], 3)).copy())
        image.convert(mode).save(folder / name.format(number))


def look(folder, **options):
    return survey(folder, **{"size": None, "channels": None, **options})


def test_size_is_that_of_the_shorter_side_rounded_down(tmp_path) -> None:
    write(tmp_path / "images")
    found = look(tmp_path / "images")
    assert (found.count, found.classes, found.shorter, found.grey) == (30, 0, 40, False)
    assert found.pixels.shape == (30, 3, 32, 32)


@pytest.mark.parametrize(
    ("shorter", "size"), [(1, 8), (27, 24), (28, 28), (63, 48), (64, 64), (4000, 64)]
)
def test_useful_sizes(shorter, size) -> None:
    assert useful_size(shorter) == size


def test_grey_images_that_are_stored_in_colour_are_grey(tmp_path) -> None:
    write(tmp_path / "images", grey=True)
    assert look(tmp_path / "images").pixels.shape == (30, 1, 32, 32)
    write(tmp_path / "images", count=1, name="colour.png")
    assert not look(tmp_path / "images").grey


def test_a_grey_jpeg_of_three_channels_is_grey(tmp_path) -> None:
    write(tmp_path / "images", grey=True, name="{}.jpg")
    assert look(tmp_path / "images").grey


def test_options_win(tmp_path) -> None:
    write(tmp_path / "images")
    assert look(tmp_path / "images", size=20, channels=1).pixels.shape == (30, 1, 20, 20)


def test_sub_folders_are_classes(tmp_path) -> None:
    write(tmp_path / "images" / "cats", 20)
    write(tmp_path / "images" / "dogs", 20)
    found = look(tmp_path / "images")
    assert (found.count, found.classes) == (40, 2)


def test_many_images_are_sampled(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("latentlab.planning.survey.SAMPLE", 10)
    write(tmp_path / "images", 45, size=(8, 8))
    found = look(tmp_path / "images")
    assert (found.count, found.sampled, len(found.pixels)) == (45, 9, 9)


def test_unreadable_files_are_listed(tmp_path) -> None:
    write(tmp_path / "images", 40)
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    found = look(tmp_path / "images")
    assert found.unreadable == {"1.png": "not an image of a known format"}
    assert len(found.pixels) == 39


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "images is missing. Give a folder of images"),
        ({}, "has no image that can be read. Give a folder"),
        ({"notes.txt": b"x"}, r"has no image that can be read \(notes.txt \(not an image"),
    ],
)
def test_folders_without_images_are_refused(tmp_path, files, message) -> None:
    if files is not None:
        (tmp_path / "images").mkdir()
        for name, content in files.items():
            (tmp_path / "images" / name).write_bytes(content)
    with pytest.raises(LatentlabError, match=message):
        look(tmp_path / "images")


def test_a_device_is_neither_a_folder_nor_a_file() -> None:
    with pytest.raises(LatentlabError, match="--images /dev/null is neither a folder nor a file"):
        look(Path("/dev/null"))


def test_few_images_are_refused(tmp_path) -> None:
    write(tmp_path / "images", 29)
    with pytest.raises(LatentlabError, match=r"has 29 images. At least 30 are needed"):
        look(tmp_path / "images")


def write_values(folder, values, count=30, dtype=np.uint16):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).uniform(0, values, (16, 16)).astype(dtype)
        pixels[0, 0] = values
        Image.fromarray(pixels).save(folder / f"{number}.tif")


def test_the_white_of_12_bits_in_16_is_asked_for_in_the_words_of_prepare(tmp_path) -> None:
    write_values(tmp_path / "images", 4095)
    found = look(tmp_path / "images")
    with pytest.raises(LatentlabError) as stopped:
        load_source(DataSettings("image_folder", "images", 8), tmp_path)
    assert found.white == str(stopped.value)
    assert "Set data.white to the value that is white, for example 4095" in found.white
    write_values(tmp_path / "images", 40000, 1)
    assert look(tmp_path / "images").white == ""


def test_floats_above_1_ask_for_white_and_can_be_looked_at(tmp_path) -> None:
    write_values(tmp_path / "images", 1, dtype=np.float32)
    assert look(tmp_path / "images").white == ""
    write_values(tmp_path / "images", 500, 1, dtype=np.float32)
    found = look(tmp_path / "images")
    assert found.white.startswith(f"1 file in {tmp_path / 'images'} cannot be read: 0.tif (float")
    assert "set data.white to the value that is white" in found.white
    assert (len(found.pixels), found.unreadable) == (30, {})


@pytest.mark.parametrize("archive", ["zip", "tar", "gztar"])
def test_an_archive_is_like_its_folder(tmp_path, archive) -> None:
    write(tmp_path / "images" / "cats", 20)
    write(tmp_path / "images" / "dogs", 20)
    packed = shutil.make_archive(str(tmp_path / "packed"), archive, tmp_path / "images")
    folder, found = look(tmp_path / "images"), look(Path(packed))
    assert (found.count, found.classes, found.shorter) == (folder.count, 2, folder.shorter)
    assert np.array_equal(found.pixels, folder.pixels)


def test_a_file_that_is_no_archive_is_refused(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(LatentlabError, match=r"notes\.txt is no folder, and cannot be read as"):
        look(tmp_path / "notes.txt")


def test_folders_of_splits_are_counted(tmp_path) -> None:
    for split, count in (("train", 40), ("test", 10)):
        write(tmp_path / "images" / split / "cats", count)
        write(tmp_path / "images" / split / "dogs", count)
    found = look(tmp_path / "images")
    assert found.classes == 2
    counts = split_counts(found.count, DataSettings(val_fraction=0.1), found.splits)
    assert counts == {"train": 72, "val": 8, "test": 20}
