"""Splits and classes from folders: the usual layouts, and those that are not clear."""

import itertools

import pytest

from latentlab.data.files.folder_names import mask_files, resembles, split_of
from latentlab.data.files.layout import read_layout
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


@pytest.mark.parametrize("inner", ["", "cat", "train"])
def test_the_only_folder_inside_of_each_split_is_named(inner) -> None:
    folders = [f"{split}/{inner}".rstrip("/") for split in ("train", "test")]
    assert read_layout(names(*folders), "images").shared == ("cat" if inner == "cat" else "")


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
        (["train/a", "eval/a"], r"eval, train: these look like splits, but are not named so"),
        (["Train", "Holdout"], "Holdout, Train: these look like splits"),
        (["train", "hold-out"], "hold-out, train: these look like splits"),
        (["trainset", "testset"], "these look like splits"),
        (["TrainImages", "TestImages"], "these look like splits"),
        (["trainA", "trainB", "testA", "testB"], "these look like splits"),
        (["train", "unlabeled"], "these look like splits"),
        (["train/a", "train/b", "site/a", "site/b"], "site, train: these look like splits"),
        (["cat/train", "cat/eval", "dog/train", "dog/eval"], "or these names only resemble splits"),
        (["images", "masks"], "images, masks: these look like images and their masks"),
        (["train/JPEGImages", "train/Annotations", "test/JPEGImages"], "images and their masks"),
        (
            ["train/img/a", "train/img/b", "test/a", "test/b"],
            r"split train are in img/.* up, out of",
        ),
        (["train/a", "train/b", "test/img/b"], r"split test are in img/, and in it are b, which"),
    ],
)
def test_layouts_that_are_not_clear_are_refused(folders, message) -> None:
    with pytest.raises(LatentlabError, match=message):
        read_layout(names(*folders), "images")


def test_folders_inside_of_classes_are_named() -> None:
    layout = read_layout(names("animal/cat", "animal/dog", "car/bus", "car"), "images")
    assert layout.classes == ["animal"] * 4 + ["car"] * 4
    assert layout.inner == ("animal/cat", "animal/dog", "car/bus")
    folders = names("train/cat/deep", "train/dog", "test/cat", "cat/x")[:6]
    assert read_layout(folders, "images").inner == ("cat/deep",)


def test_words_that_resemble_splits() -> None:
    for name in ("seg_train", "train2017", "trainB", "Training Set", "traindata"):
        assert resembles(name, exactly=True) == "train", name
    assert (resembles("eval"), resembles("eval", exactly=True)) == ("test", None)
    for name in ("trainer", "valley", "contest", "device", "set", ""):
        assert resembles(name) is None, name


def test_the_words_of_splits() -> None:
    assert split_of(" Validation ") == "val"
    assert split_of("holdout") is None


def test_masks_beside_their_images_are_found_by_their_names() -> None:
    masks = ["b (1)_mask.png", "b (1)_mask_1.png", "x/1-seg.PNG", "y.gt.tif"]
    others = ["b (1).png", "x/1.jpg", "y.png", "_mask.png", "face_mask.png", "1_mask.png", "a.b/c"]
    assert mask_files(sorted([*masks, *others])) == sorted(masks)
