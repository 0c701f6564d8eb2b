"""The source image_folder: classes, unreadable files, links, error messages."""

import csv
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import write_grey, write_noise
from latentlab.data.settings import DataSettings
from latentlab.data.sources import load_source
from latentlab.data.sources.folder import look, look_size
from latentlab.utils.errors import LatentlabError

ODD = 'eel/d,"1"\n猫.webp'


def load(root: Path, **settings):
    given = {"name": "image_folder", "folder": "images", "size": 8} | settings
    return load_source(DataSettings(**given), root)


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    for number, name in enumerate(["cat/a.png", "cat/deep/b.jpg", "dog/c.bmp", ODD]):
        write_grey(folder / name, 40 * number)
    return folder


def test_sub_folders_are_classes_and_images_are_sorted_by_path(tmp_path, images) -> None:
    (images / ".hidden").mkdir()
    write_grey(images / ".hidden" / "x.png", 1)
    (images / "dog" / ".DS_Store").write_bytes(b"junk")
    (images / "dog" / "Thumbs.db").write_bytes(b"junk")
    (images / "empty").mkdir()
    source = load(tmp_path)
    assert source.classes == ("cat", "dog", "eel")
    assert source.train.labels is not None
    assert source.train.labels.tolist() == [0, 0, 1, 2]
    assert source.train.names == ["cat/a.png", "cat/deep/b.jpg", "dog/c.bmp", ODD]
    assert source.train.pixels.shape == (4, 3, 8, 8)
    means = source.train.pixels[:].mean((1, 2, 3))
    np.testing.assert_allclose(means, [0, 40, 80, 120], atol=2)
    assert source.unreadable == ()


@pytest.mark.parametrize("place", ["", "only"])
def test_fewer_than_two_classes_are_no_labels(tmp_path, place) -> None:
    for number in range(3):
        write_grey(tmp_path / "images" / place / f"{number}.png", number)
    source = load(tmp_path, channels=1)
    assert source.classes is None
    assert source.train.labels is None
    assert source.train.pixels.shape == (3, 1, 8, 8)


def add_unreadable_files(images: Path) -> set[str]:
    """Add unreadable files of every type. Return their names."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    Image.fromarray(noise).save(images / "cat" / "broken.png")
    os.truncate(images / "cat" / "broken.png", 250)
    (images / "dog" / "notes.txt").write_text("not an image")
    (images / "dog" / "nothing.png").touch()
    (images / "dog" / "link.png").symlink_to("/proc/self/environ")
    (images / "dog" / "dangling.png").symlink_to(images / "nowhere.png")
    (images / "linked").symlink_to(images.parent)
    os.mkfifo(images / "dog" / "pipe.png")
    return {
        "cat/broken.png",
        "dog/dangling.png",
        "dog/link.png",
        "dog/notes.txt",
        "dog/nothing.png",
        "dog/pipe.png",
        "linked",
    }


def test_unreadable_files_are_skipped_and_listed(tmp_path, images) -> None:
    clean = load(tmp_path)
    bad = add_unreadable_files(images)
    source = load(tmp_path, on_unreadable="skip")
    assert set(source.unreadable) == bad
    assert source.train.names == clean.train.names
    np.testing.assert_array_equal(source.train.pixels[:], clean.train.pixels[:])
    np.testing.assert_array_equal(source.train.labels, clean.train.labels)


def test_unreadable_files_are_an_error_with_names_and_count(tmp_path, images) -> None:
    bad = add_unreadable_files(images)
    with pytest.raises(
        LatentlabError, match=r"7 of 11 files .* set data.on_unreadable to skip"
    ) as e:
        load(tmp_path)
    assert all(name in str(e.value) for name in bad)
    assert "link.png (a link that leaves the device of the folder)" in str(e.value)
    assert "notes.txt (not an image of a known format)" in str(e.value)


def test_links_inside_the_folder_are_followed(tmp_path, images) -> None:
    (images / "eel" / "same.png").symlink_to(images / "cat" / "a.png")
    assert "eel/same.png" in load(tmp_path).train.names


def test_a_class_without_readable_images_is_left_out(tmp_path, images) -> None:
    (images / "dog" / "c.bmp").write_bytes(b"BM")
    source = load(tmp_path, on_unreadable="skip")
    assert source.classes == ("cat", "eel")
    assert source.train.labels is not None
    assert source.train.labels.tolist() == [0, 0, 1]


def test_decompression_bombs_are_unreadable_and_warning_filters_do_not_change(
    tmp_path, images
) -> None:
    write_grey(images / "cat" / "big.png", 1, (30, 20))
    before = list(warnings.filters)
    with pytest.raises(LatentlabError, match=r"cat/big.png \(.*data.max_pixels"):
        load(tmp_path, max_pixels=500)
    assert warnings.filters == before


def test_a_file_without_permission_is_unreadable(tmp_path, images) -> None:
    path = images / "cat" / "a.png"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything (root)")
    with pytest.raises(LatentlabError, match=r"1 of 4 files .*cat/a.png \(PermissionError"):
        load(tmp_path)


def test_a_full_disk_is_an_error_also_with_skip(tmp_path, images, monkeypatch) -> None:
    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(LatentlabError, match=r"data has no space for 0.0 GB .*lower data.size"):
            load(tmp_path, on_unreadable="skip")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(
            LatentlabError, match=r"Images cannot be written .*No space.*Free space"
        ):
            load(tmp_path, on_unreadable="skip")
    monkeypatch.setattr(os, "pwrite", lambda *_args: 1)
    with pytest.raises(LatentlabError, match=r"the disk is full\. Free space"):
        load(tmp_path, on_unreadable="skip")


def test_at_most_ten_files_are_listed(tmp_path, images) -> None:
    for number in range(25):
        (images / "cat" / f"bad{number}.png").touch()
    with pytest.raises(LatentlabError, match=r"25 of 29 files.*, and 15 more"):
        load(tmp_path)


def test_names_that_are_not_utf8_can_be_printed(tmp_path, images) -> None:
    with open(os.fsencode(images / "cat") + b"/\xff.png", "wb"):
        pass
    with pytest.raises(LatentlabError, match=r"cat/\\udcff.png") as error:
        load(tmp_path)
    str(error.value).encode()


@pytest.mark.parametrize("on_unreadable", ["error", "skip"])
def test_no_readable_image_is_an_error(tmp_path, on_unreadable) -> None:
    with pytest.raises(LatentlabError, match=r"images is not a folder\. Put your images there"):
        load(tmp_path, on_unreadable=on_unreadable)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ".gitkeep").touch()
    with pytest.raises(LatentlabError, match=r"contains no image that can be read \(0 unreadable"):
        load(tmp_path, on_unreadable=on_unreadable)
    (tmp_path / "images" / "x.png").touch()
    with pytest.raises(LatentlabError, match=r"x.png \(the file is empty"):
        load(tmp_path, on_unreadable=on_unreadable)


def test_images_beside_class_folders_are_an_error(tmp_path, images) -> None:
    write_grey(images / "stray.png", 9)
    with pytest.raises(LatentlabError, match=r"1 file beside its class folders: stray\.png"):
        load(tmp_path)


def test_a_copy_of_the_project_does_not_read_images_that_dvc_does_not_watch(
    tmp_path, images, monkeypatch
) -> None:
    """DVC compares data.folder in the copy, so the images of the original are not read."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    copy = tmp_path / "copy"
    (copy / "images").mkdir(parents=True)  # git can contain the folder without images
    (copy / "images" / ".gitkeep").touch()
    with pytest.raises(LatentlabError, match=rf"no images in this copy.*folder={images}`"):
        load(copy)
    assert len(load(copy, folder=str(images)).train.names) == 4
    write_grey(copy / "images" / "x.png", 5)
    assert load(copy).train.names == ["x.png"]


def test_an_archive_is_like_the_folder_inside(tmp_path, images) -> None:
    plain = load(tmp_path)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as zipped:
        for path in images.rglob("*.*"):
            zipped.write(path, path.relative_to(tmp_path))
    with tarfile.open(tmp_path / "images.tgz", "w:gz") as tar:
        tar.add(images, "images")
    for name in ("images.zip", "images.tgz"):
        source = load(tmp_path, folder=name)
        assert source.train.names == [f"images/{name}" for name in plain.train.names]
        assert source.classes == plain.classes
        np.testing.assert_array_equal(source.train.pixels[:], plain.train.pixels[:])
    assert source.notes == (
        "not classes: 1 folder inside of class folders (cat/deep)",
        "all images are in images/, which is not a class",
    )


def test_an_archive_inside_of_the_folder_is_named(tmp_path, images) -> None:
    (images / "more.zip").write_bytes(b"PK")
    with pytest.raises(LatentlabError, match=r"more.zip \(not an.*can be data.folder itself\)"):
        load(tmp_path)


def test_other_files_beside_class_folders_are_skipped(tmp_path, images) -> None:
    for name in ("README.txt", "labels.csv", "annotations.json"):
        (images / name).write_text("a,b")
    with pytest.raises(LatentlabError, match=r"3 of 7 files .*labels.csv \(.* data.split_file\)"):
        load(tmp_path)
    source = load(tmp_path, on_unreadable="skip")
    assert source.classes == ("cat", "dog", "eel")
    assert source.unreadable == ("README.txt", "annotations.json", "labels.csv")


def test_folders_of_splits_are_the_splits(tmp_path) -> None:
    for number, name in enumerate(["train/cat", "train/dog", "test/cat", "test/dog"]):
        write_grey(tmp_path / "images" / name / "1.png", 40 * number)
    source = load(tmp_path)
    assert source.train.splits == ["test", "test", "train", "train"]
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [0, 1, 0, 1]
    assert source.notes == ("the folders of train, test are the splits",)


def test_a_layout_that_is_not_clear_stops_before_the_images_are_decoded(tmp_path, images) -> None:
    write_grey(images / "stray.png", 9)
    (images / "cat" / "broken.png").touch()
    with pytest.raises(LatentlabError, match=r"1 file beside its class folders: stray\.png"):
        load(tmp_path)


def test_a_split_file_gives_splits_labels_and_groups(tmp_path, images) -> None:
    table = [("file", "split", "label", "group"), ("cat/a.png", "train", "10", "p1")]
    table += [("cat/deep/b.jpg", "test", "9", ""), ("dog/c.bmp", "unused", "", ""), (ODD, *"t9p")]
    table[-1] = (ODD, "Training", "9", "p1")
    with (images / "split.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    source = load(tmp_path, split_file="split.csv")
    assert source.classes == ("9", "10")
    assert source.train.names == ["cat/a.png", "cat/deep/b.jpg", ODD]
    assert source.train.labels.tolist() == [1, 0, 0]
    assert source.train.splits == ["train", "test", "train"]
    assert source.train.groups == ["p1", "", "p1"]
    assert source.notes == ("split.csv: 1 file unused",)
    same = load(tmp_path, split_file="images/split.csv")
    assert same.train.names == source.train.names
    (images / "split.csv").write_text("file\ncat/a.png\ncat/x.png\n")
    with pytest.raises(LatentlabError, match=r"split.csv names 1 file that cannot be found: cat/x"):
        load(tmp_path, split_file="split.csv")
    (images / "split.csv").write_text("file\ncat/a.png\n")
    with pytest.raises(LatentlabError, match=r"split.csv has no line for 3 images: cat/deep/b"):
        load(tmp_path, split_file="split.csv")


def write_table(images: Path, text: str) -> None:
    (images / "split.csv").write_text(text)


def test_labels_of_one_value_are_said_to_be_no_classes(tmp_path, images) -> None:
    """The column replaces the class folders, so the data set has no labels."""
    lines = [f'"{name.replace(chr(34), chr(34) * 2)}",cat' for name in load(tmp_path).train.names]
    write_table(images, "\n".join(["file,label", *lines]))
    source = load(tmp_path, split_file="split.csv")
    assert source.classes is None
    assert source.train.labels is None
    assert source.notes == ("split.csv: all labels are 'cat', so there are no classes",)
    two = [line.replace(",cat", f",{'cat' if row else 'dog'}") for row, line in enumerate(lines)]
    write_table(images, "\n".join(["file,label", *two]))
    assert load(tmp_path, split_file="split.csv").notes == ()


def test_a_class_folder_that_is_the_only_one_in_each_split_is_said(tmp_path) -> None:
    for name in ("train/cat/a.png", "train/cat/b.png", "test/cat/c.png"):
        write_grey(tmp_path / "images" / name, 9)
    source = load(tmp_path)
    assert source.classes is None
    assert source.notes[0] == "all images of each split are in cat/, which is not a class"


def test_folders_are_not_called_the_splits_if_the_split_file_has_others(tmp_path) -> None:
    for name in ("train/a.png", "train/b.png", "test/c.png"):
        write_grey(tmp_path / "images" / name, 9)
    lines = ["file,split", "train/a.png,test", "train/b.png,val", "test/c.png,train"]
    write_table(tmp_path / "images", "\n".join(lines))
    source = load(tmp_path, split_file="split.csv")
    assert dict(zip(source.train.names, source.train.splits or (), strict=True)) == {
        "test/c.png": "train",
        "train/a.png": "test",
        "train/b.png": "val",
    }
    assert source.notes == ()


def test_masks_beside_images_are_said(tmp_path) -> None:
    for name in ("a.png", "a_mask.png", "b.png"):
        write_grey(tmp_path / "images" / name, 9)
    assert load(tmp_path).notes == (
        "1 file has the name of a mask of another: a_mask.png. Move masks away",
    )


def test_a_split_file_elsewhere_is_an_error(tmp_path, images) -> None:
    (tmp_path / "split.csv").write_text("file\n")
    with pytest.raises(LatentlabError, match=r"'split.csv', which is not a file in .*Move the"):
        load(tmp_path, split_file="split.csv")


def test_look_finds_the_classes_without_decoding(tmp_path, images) -> None:
    (images / "dog" / "broken.png").touch()
    settings = DataSettings(name="image_folder", folder="images", size=8)
    names, classes = look(settings, tmp_path)
    assert len(names) == 5
    assert classes == ("cat", "dog", "eel")


def test_without_a_size_square_images_of_one_size_keep_it(tmp_path) -> None:
    values = {}
    for number in range(3):
        write_noise(tmp_path / "images" / f"{number}.png", number, (12, 12))
        with Image.open(tmp_path / "images" / f"{number}.png") as image:
            values[number] = np.asarray(image).transpose(2, 0, 1)
    source = load(tmp_path, size=None)
    np.testing.assert_array_equal(source.train.pixels[:], np.stack([*values.values()]))
    given = {"name": "image_folder", "folder": "images", "size": None}
    assert look_size(DataSettings(**given), tmp_path) == 12
    write_noise(tmp_path / "images" / "a.png", 5, (9, 14))
    message = (
        r"data.size is null, .*: 12 × 12 \(0.png\), 14 × 9 \(a.png\)\. Set data.size to .* for"
        r" example 9; data.fit crops or pads them"
    )
    with pytest.raises(LatentlabError, match=message):
        load(tmp_path, size=None)
    with pytest.raises(LatentlabError, match=message):
        look_size(DataSettings(**given), tmp_path)
    assert load(tmp_path, size=9).train.pixels.shape == (4, 3, 9, 9)


def test_without_a_size_images_that_are_no_squares_are_an_error(tmp_path) -> None:
    for number in range(3):
        write_noise(tmp_path / "images" / f"{number}.png", number, (12, 8))
    with pytest.raises(LatentlabError, match=r"square.* 8 × 12 \(0.png\)\. Set data.size"):
        load(tmp_path, size=None)


def test_a_page_of_another_size_counts_only_if_it_is_read(tmp_path) -> None:
    pages = [Image.new("L", (side, side), 7) for side in (8, 6)]
    (tmp_path / "images").mkdir()
    pages[0].save(tmp_path / "images" / "a.tif", save_all=True, append_images=pages[1:])
    assert load(tmp_path, size=None).train.pixels.shape == (1, 3, 8, 8)
    with pytest.raises(LatentlabError, match=r"8 × 8 \(a.tif\), 6 × 6 \(a.tif\)"):
        load(tmp_path, size=None, frames="all")


def test_frames_that_are_unused_leave_no_class_and_no_gap(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    rows = ["file,split,label"]
    for file in range(3):
        pages = [Image.new("L", (8, 8), 60 * file + 20 * page) for page in range(3)]
        name = f"{file}.tif"
        pages[0].save(tmp_path / "images" / name, save_all=True, append_images=pages[1:])
        for page in range(3):
            unused = (file, page) in ((0, 1), (1, 0))
            rows.append(f"{name}#{page + 1}," + ("unused," if unused else f",{'ab'[file % 2]}"))
    (tmp_path / "images" / "s.csv").write_text("\n".join(rows))
    source = load(tmp_path, split_file="s.csv", frames="all", channels=1)
    assert source.classes == ("a", "b")
    assert source.train.labels is not None
    assert source.train.labels.tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert source.train.pixels[:][:, 0, 0, 0].tolist() == [0, 40, 80, 100, 120, 140, 160]
    assert source.train.names[1:3] == ["0.tif#3", "1.tif#2"]
    assert source.train.splits is None
    assert "s.csv: 2 frames unused" in source.notes
    # a file that is unused but for one frame
    lines = ["0.tif,unused,", "0.tif#2,,a", *(f"{file}.tif,,b" for file in (1, 2))]
    (tmp_path / "images" / "s.csv").write_text("\n".join(["file,split,label", *lines]))
    source = load(tmp_path, split_file="s.csv", frames="all", channels=1)
    assert source.train.pixels[:][:, 0, 0, 0].tolist() == [20, 60, 80, 100, 120, 140, 160]
    assert "s.csv: 2 frames unused" in source.notes
    rows[1:] = [f"{file}.tif#{page},,a" for file in range(3) for page in (1, 2, 3)]
    (tmp_path / "images" / "s.csv").write_text("\n".join(rows))
    with pytest.raises(LatentlabError, match=r"names 9 frames not to be read: 0.tif#1, .*first"):
        load(tmp_path, split_file="s.csv")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.HEIC", "convert it to JPEG or PNG"),
        ("a.npy", "save each image of the array"),
        ("a.dcm", "convert each slice"),
        ("a.nii.gz", "convert each slice"),
        ("a.mp4", "save its frames"),
        ("a.nef", "develop it"),
    ],
)
def test_what_to_do_with_files_that_pillow_does_not_read(tmp_path, images, name, advice) -> None:
    (images / "cat" / name).write_bytes(b"x" * 200)
    (images / "cat" / "empty.png").touch()
    with pytest.raises(LatentlabError, match=rf"{name} \(not an image .*; {advice}.*") as error:
        load(tmp_path)
    assert "empty.png (the file is empty)" in str(error.value)
