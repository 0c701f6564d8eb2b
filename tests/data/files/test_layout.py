"""Splits and classes from folders: the usual layouts, and those that are not clear."""

import itertools

import numpy as np
import pytest

from latentlab.data.files.layout import labels_of, read_layout, split_of
from latentlab.utils.errors import LatentlabError


def names(*folders: str, count: int = 2) -> list[str]:
    """Names of `count` files in each folder."""
    return [f"{folder}/{n}.png".lstrip("/") for folder in folders for n in range(count)]


def found(files: list[str]) -> list[tuple[str | None, str | None]]:
    """(split, class) of the first file of each folder."""
    layout = read_layout(files, "images")
    splits = layout.splits or [None] * len(files)
    classes = layout.classes or [None] * len(files)
    return list(zip(splits, classes, strict=True))[::2]


def test_class_folders() -> None:
    assert found(names("cat", "dog/deep")) == [(None, "cat"), (None, "dog")]


@pytest.mark.parametrize("folder", ["", "only", "pets/photos"])
def test_images_in_one_folder_have_no_classes(folder) -> None:
    layout = read_layout(names(folder, count=3), "images")
    assert (layout.splits, layout.classes, layout.wrapper) == (None, None, folder)


@pytest.mark.parametrize("wrapper", ["", "pets/", "a/b/"])
@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", "dev", "TEST")],
)
def test_folders_of_splits_with_classes_inside(wrapper, train, val, test) -> None:
    folders = [f"{wrapper}{s}/{c}" for s in (train, val, test) for c in ("cat", "dog")]
    expected = list(itertools.product(("train", "val", "test"), ("cat", "dog")))
    assert found(names(*folders)) == expected
    assert read_layout(names(*folders), "images").wrapper == wrapper.rstrip("/")


def test_classes_with_splits_inside() -> None:
    folders = [f"{c}/{s}" for c in ("cat", "dog") for s in ("train", "test")]
    expected = [(s, c) for c in ("cat", "dog") for s in ("train", "test")]
    assert found(names(*folders)) == expected


@pytest.mark.parametrize("inner", ["images", "{split}"])
def test_a_folder_inside_of_each_split_that_is_no_class(inner) -> None:
    folders = [
        f"{split}/{inner.format(split=split)}/{c}"
        for split in ("train", "test")
        for c in ("cat", "dog")
    ]
    expected = [(s, c) for s in ("train", "test") for c in ("cat", "dog")]
    assert found(names(*folders)) == expected


def test_splits_without_classes() -> None:
    assert found(names("train", "test")) == [("train", None), ("test", None)]
    assert found(names("train/images", "test/images")) == [("train", None), ("test", None)]


def test_one_folder_with_the_name_of_a_split_is_a_class() -> None:
    assert found(names("car", "train", "bus")) == [(None, "car"), (None, "train"), (None, "bus")]


def test_a_class_that_one_split_lacks_is_kept() -> None:
    layout = read_layout(names("train/cat", "train/dog", "test/cat", "test/eel"), "images")
    assert layout.class_names == ("cat", "dog", "eel")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["cat", "dog", ""], r"images contains 2 files beside its class folders: 0.png, 1.png"),
        (["val/cat", "test/cat"], r"images contains test, val, but no folder train/.*Wanted: one"),
        (["train/a", "val/a", "valid/a"], r"val, valid, and all mean the split 'val'. Keep one"),
        (["train/a", "test/a", "labels"], r"folders of splits, and beside them labels"),
        (["seg_train/a", "seg_test/a"], r"seg_test, seg_train: these look like splits"),
        (["train2017", "val2017"], r"train2017, val2017: these look like splits"),
        (["train/cat", "train/dog", "test"], r"but not these: 2 in test/\. .*Sort them"),
        (["cat/train", "cat/test", "dog"], r"images/cat contains test, train, but other folders"),
    ],
)
def test_layouts_that_are_not_clear_are_refused(folders, message) -> None:
    with pytest.raises(LatentlabError, match=message):
        read_layout(names(*folders), "images")


def test_the_words_of_splits() -> None:
    assert split_of(" Validation ") == "val"
    assert split_of("holdout") is None


def test_labels_are_numbers_of_sorted_classes() -> None:
    labels, classes = labels_of(["dog", "cat", "dog"])
    np.testing.assert_array_equal(labels, [1, 0, 1])
    assert classes == ("cat", "dog")
    assert labels_of(["10", "9"])[1] == ("10", "9")
    assert labels_of(["10", "9"], numeric=True)[1] == ("9", "10")
    assert labels_of(["cat", "cat"]) == labels_of(None) == (None, None)
