"""The source shards: classes, names, and every type of damage."""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from image_files import png, write_noise, write_tar
from latentlab.data.settings import DataSettings
from latentlab.data.shards.write import pack_folder
from latentlab.data.sources import load_source
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def images(tmp_path) -> Path:
    for number, name in enumerate(
        ["cat/a.png", "cat/b.jpg", "dog/c.png", "dog/d.png", "Ärger/e.png"]
    ):
        write_noise(tmp_path / "images" / name, number)
    return tmp_path / "images"


def load(root: Path, **settings):
    given = {"name": "shards", "folder": "shards", "size": 8} | settings
    return load_source(DataSettings(**given), root)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    path.rename(path.parents[1] / "elsewhere.tar")
    path.symlink_to(path.parents[1] / "elsewhere.tar")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: os.truncate(p, 1024), r"truncated: it has 1024 bytes, manifest.json says \d+"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "too long: it has"),
        (flip, "corrupt: its SHA-256 is [0-9a-f]{64}, manifest.json says"),
        (Path.unlink, "missing"),
        (lambda p: (p.unlink(), os.mkfifo(p)), "not a regular file"),
        (replace_by_link, "a link that leaves the folder"),
    ],
)
def test_a_damaged_shard_is_an_error_that_names_it(tmp_path, images, damage, message) -> None:
    pack_folder(images, tmp_path / "shards", per_shard=2)
    damage(tmp_path / "shards" / "shard-000001.tar")
    with pytest.raises(
        LatentlabError,
        match=rf"1 of 3 shards .* shard-000001.tar \({message}.*Copy these shards again ",
    ):
        load(tmp_path)


def test_shards_and_manifest_must_match(tmp_path, images) -> None:
    out = tmp_path / "shards"
    pack_folder(images, out)
    content = json.loads((out / "manifest.json").read_text())
    write_tar(out / "stale.tar", {"a.png": png(1)})
    with pytest.raises(LatentlabError, match=r"that manifest.json does not list: stale.tar. Move"):
        load(tmp_path)
    (out / "stale.tar").unlink()
    content["classes"] = ["one"]
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(LatentlabError, match=r"classes that manifest.json does not list"):
        load(tmp_path)
    content["images"] = content["shards"][0]["images"] = 6
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(LatentlabError, match=r"5 images, manifest.json says 6"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "classes", "labels"),
    [
        (["7", "10", "7"], ("7", "10"), [0, 1, 0]),
        (["cat\n", "ant", "10"], ("10", "ant", "cat"), [2, 1, 0]),
        (["3", "3", "3"], None, None),
        ([None] * 3, None, None),
    ],
)
def test_the_classes_of_other_tars_are_their_cls_texts(tmp_path, texts, classes, labels) -> None:
    for shard in (0, 1):  # the same keys in both shards, as other tools write them
        members = {}
        for row, text in enumerate(texts):
            members[f"./k{row}.png"] = png(20 * row + shard)
            members |= {f"./k{row}.cls": text.encode()} if text else {}
        write_tar(
            tmp_path / "shards" / f"{shard}.tar", {"README": b"hello", "./._x.png": b"", **members}
        )
    source = load(tmp_path)
    assert source.classes == classes
    if labels is None:
        assert source.train.labels is None
    else:
        assert source.train.labels.tolist() == labels * 2
    assert source.train.names == [f"{s}.tar/./k{row}" for s in (0, 1) for row in range(3)]
    assert source.train.pixels[:][:, 0, 0, 0].tolist() == [0, 20, 40, 1, 21, 41]


def test_images_with_and_without_a_class_are_an_error(tmp_path) -> None:
    write_tar(tmp_path / "shards" / "a.tar", {"a.png": png(1), "a.cls": b"1", "b.png": png(2)})
    with pytest.raises(
        LatentlabError, match=r"1 of 2 images .* have no .cls file\. Either all images need a class"
    ):
        load(tmp_path)


def test_unreadable_images_are_an_error_or_skipped(tmp_path) -> None:
    big = io.BytesIO()
    Image.new("L", (11, 10)).save(big, "png")
    members = {"good.png": png(5), "bomb.png": big.getvalue(), "junk.jpg": b"junk", "nil.png": b""}
    write_tar(tmp_path / "shards" / "a.tar", members)
    with pytest.raises(LatentlabError, match=r"3 of 4 .*a.tar/bomb \(110 pixels are more than"):
        load(tmp_path, max_pixels=100)
    source = load(tmp_path, max_pixels=100, on_unreadable="skip")
    assert source.unreadable == ("a.tar/bomb", "a.tar/junk", "a.tar/nil")
    assert source.train.names == ["a.tar/good"]
    assert (source.train.pixels[:] == 5).all()


def test_no_shards_is_an_error(tmp_path) -> None:
    with pytest.raises(
        LatentlabError, match=r"shards contains no images in .tar files\. Make shards"
    ):
        load(tmp_path)


def test_the_settings_of_pixels_and_frames_are_used(tmp_path) -> None:
    pages = [Image.new("I;16", (8, 4), value) for value in (4095, 2048)]
    stack = io.BytesIO()
    pages[0].save(stack, "tiff", save_all=True, append_images=pages[1:])
    members = {"a.tif": stack.getvalue(), "a.cls": b"x", "b.png": png(3), "b.cls": b"y"}
    write_tar(tmp_path / "shards" / "a.tar", members)
    with pytest.raises(LatentlabError, match=r"largest value is 4095: a.tar/a\. Set data.white"):
        load(tmp_path)
    given = {"white": 4095, "frames": "all", "fit": "pad", "background": "black", "channels": 1}
    source = load(tmp_path, **given)
    assert source.train.names == ["a.tar/a#1", "a.tar/a#2", "a.tar/b"]
    assert source.train.files == ["a.tar/a", "a.tar/a", "a.tar/b"]
    assert source.train.labels is not None
    assert source.train.labels.tolist() == [0, 0, 1]
    assert source.train.pixels[:].max((1, 2, 3)).tolist() == [255, 128, 3]
    assert source.train.pixels[:].min((1, 2, 3)).tolist() == [0, 0, 3]


def test_folders_of_splits_stay_splits(tmp_path) -> None:
    for number, name in enumerate(["train/cat", "train/dog", "test/cat", "test/dog"]):
        write_noise(tmp_path / "images" / name / "1.png", number)
    pack_folder(tmp_path / "images", tmp_path / "shards")
    packed, plain = load(tmp_path), load(tmp_path, name="image_folder", folder="images")
    assert packed.classes == plain.classes == ("cat", "dog")
    assert packed.train.splits == plain.train.splits == ["test", "test", "train", "train"]
    assert packed.train.labels.tolist() == plain.train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("set-train", "set_dev", "testset")])
def test_shards_that_are_named_by_splits_are_the_splits(tmp_path, names) -> None:
    for number, name in enumerate(names):
        for shard in range(2):
            members = {f"{n}.png": png(10 * number + n) for n in range(2)}
            write_tar(tmp_path / "shards" / f"{name}-{shard}.tar", members)
    source = load(tmp_path)
    expected = ["train", "val", "test"]
    splits = dict(zip(source.train.names, source.train.splits or (), strict=True))
    for split, name in zip(expected, names, strict=True):
        assert splits[f"{name}-0.tar/1"] == splits[f"{name}-1.tar/0"] == split
    assert source.notes == ("the names of train, val, test are the splits",)


def test_folders_of_splits_in_other_tars_are_the_splits(tmp_path) -> None:
    members = {f"{split}/{n}.png": png(n) for split in ("train", "test") for n in range(2)}
    write_tar(tmp_path / "shards" / "a.tar", members)
    assert load(tmp_path).train.splits == ["train", "train", "test", "test"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train-0.tar", "test-0.tar", "more.tar"), r"Some of these names are of splits, but not"),
        (("train-0.tar", "eval-0.tar"), r"eval-0.tar, train-0.tar\. Some .* Name all shards"),
        (("val.tar", "test.tar"), "or none is of train"),
        (("0.tar", "more/1.tar"), r"cannot be read: more/1.tar\. Only .tar files directly in"),
        (("0.tar", "1.tar.gz"), r"cannot be read: 1.tar.gz\. .*expand compressed ones"),
    ],
)
def test_shards_that_would_be_mixed_or_left_out_are_an_error(tmp_path, names, message) -> None:
    for number, name in enumerate(names):
        (tmp_path / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        write_tar(tmp_path / "shards" / name, {"a.png": png(number)})
    with pytest.raises(LatentlabError, match=message):
        load(tmp_path)


def test_images_that_are_no_samples_are_named(tmp_path) -> None:
    members = {"a.png": png(1), "b.left.png": png(2), "c.heic": b"x", "d.json": b"{}"}
    write_tar(tmp_path / "shards" / "a.tar", members)
    (note,) = load(tmp_path).notes
    assert note.startswith("not used: 2 image files in the shards: b.left.png, c.heic. The name")
    write_tar(tmp_path / "shards" / "a.tar", {"b.left.png": png(2)})
    with pytest.raises(LatentlabError, match=r"no images in .tar files. These are not read: b.le"):
        load(tmp_path)


def test_a_class_that_is_the_only_one_is_said(tmp_path) -> None:
    members = {"a.png": png(1), "a.cls": b"cat", "b.png": png(2), "b.cls": b"cat"}
    write_tar(tmp_path / "shards" / "a.tar", members)
    source = load(tmp_path)
    assert source.classes is None
    assert source.notes == ("all .cls files have the same class, so there are no classes",)


def test_folders_of_samples_without_classes_are_named(tmp_path) -> None:
    write_tar(tmp_path / "shards" / "a.tar", {f"{name}/a.png": png(1) for name in ("cat", "dog")})
    source = load(tmp_path)
    assert source.classes is None
    assert "samples are in the folders cat, dog, which are no classes" in source.notes[0]


def test_without_a_size_square_images_keep_it(tmp_path) -> None:
    write_tar(tmp_path / "shards" / "a.tar", {f"{n}.png": png(n) for n in range(3)})
    assert load(tmp_path, size=None).train.pixels.shape == (3, 3, 8, 8)
