"""Packing a folder into shards: the images are preserved, and errors leave no files."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from image_files import files_of, write_noise
from latentlab.cli import main
from latentlab.data.prepared import write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.shards.write import pack_folder, sample_key
from latentlab.data.sources import load_source
from latentlab.utils.errors import LatentlabError

ODD = ["cat/dot.dot.png", "cat/a.b.jpg", "dog/new\nline.png", 'dog/quo"te,.png', "Ärger/猫 %41.png"]


@pytest.fixture
def images(tmp_path) -> Path:
    for number, name in enumerate(ODD):
        write_noise(tmp_path / "images" / name, number)
    return tmp_path / "images"


def load(root: Path, name: str = "shards", **settings):
    folder = name.replace("image_folder", "images")
    return load_source(DataSettings(**{"name": name, "folder": folder, "size": 8} | settings), root)


@pytest.mark.parametrize("size", [None, 8])
def test_shards_and_folder_give_the_same_prepared_bytes(tmp_path, images, size) -> None:
    pack_folder(images, tmp_path / "shards", size=size, per_shard=2)
    made = []
    for name in ("image_folder", "shards"):
        settings = DataSettings(name=name, size=8)
        source = load(tmp_path, name)
        assert source.classes == ("cat", "dog", "Ärger")
        write_prepared(source, settings, 0, tmp_path / name)
        made.append(files_of(tmp_path / name))
    metas = [json.loads(folder.pop("meta.json")) for folder in made]
    assert [meta.pop("name") for meta in metas] == ["image_folder", "shards"]
    assert metas[0] == metas[1]
    assert made[0] == made[1]


def test_a_name_that_is_not_utf8_is_preserved(tmp_path, images) -> None:
    write_noise(tmp_path / "x.png", 9)
    os.rename(tmp_path / "x.png", os.fsencode(images / "dog") + b"/\xff.png")
    pack_folder(images, tmp_path / "shards")
    assert load(tmp_path).train.names == load(tmp_path, "image_folder").train.names


def test_other_tools_can_read_the_samples(tmp_path, images) -> None:
    """By WebDataset's rule, the key ends at the first dot of the file name."""
    pack_folder(images, tmp_path / "shards", per_shard=3)
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted((tmp_path / "shards").glob("*.tar")):
        with tarfile.open(path) as file:
            for member in file:
                assert member.isreg()
                assert member.name.isascii()
                folder, _, last = member.name.rpartition("/")
                stem, ending = last.split(".")
                samples.setdefault(f"{folder}/{stem}", {})[ending] = file.extractfile(member).read()
    assert [set(sample) for sample in samples.values()] == [
        {"jpg" if b"jpg" in sample_key(name).encode() else "png", "cls"} for name in sorted(ODD)
    ]
    for name, sample in zip(sorted(ODD), samples.values(), strict=True):
        (image,) = (data for ending, data in sample.items() if ending != "cls")
        assert image == (images / name).read_bytes()
    assert [int(sample["cls"]) for sample in samples.values()] == [0, 0, 1, 1, 2]


def test_the_command_packs_and_prints_a_summary(tmp_path, images, capsys) -> None:
    (images / "cat" / "bad.png").write_bytes(b"")
    out = tmp_path / "shards"
    with pytest.raises(SystemExit) as stopped:
        main(["shard", str(images), str(out)])
    assert stopped.value.code == 2
    assert "1 of 6 files" in (error := capsys.readouterr().err)
    assert "cat/bad.png (the file is empty)" in error
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "no incomplete files"
    main(["shard", str(images), str(out), "--per-shard", "4", "--on-unreadable", "skip"])
    output = capsys.readouterr().out
    assert output.startswith("5 images, 3 classes, 1 unreadable skipped: 2 shards, 0.0 MB in")
    source = load(tmp_path)
    assert source.unreadable == ("cat/bad.png",)


def test_bad_arguments_and_files_are_an_error(tmp_path, images) -> None:
    with pytest.raises(LatentlabError, match=r"nowhere is not a folder\. Give the folder"):
        pack_folder(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(LatentlabError, match=r"exists\. Give a new folder"):
        pack_folder(images, images / "cat")
    with pytest.raises(
        LatentlabError, match=r"out is inside of the images .*\. Give a folder outside"
    ):
        pack_folder(images, images / "out")
    with pytest.raises(
        LatentlabError, match=r"size is None, per_shard is 0\. Both must be 1 or more"
    ):
        pack_folder(images, tmp_path / "out", per_shard=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LatentlabError, match=r"empty contains no images\. Give a folder"):
        pack_folder(tmp_path / "empty", tmp_path / "out")
    (images / "cat" / "link.png").symlink_to("/proc/self/environ")
    with pytest.raises(LatentlabError, match=r"cat/link.png \(a link that leaves the device"):
        pack_folder(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_few_bits_can_be_scaled_and_those_with_more_channels_are_named(tmp_path) -> None:
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "images").mkdir()
    for number in range(3):
        content = b"P5 8 8 15 " + bytes((number + n) % 16 for n in range(64))
        (tmp_path / "images" / f"{number}.pgm").write_bytes(content)
    pack_folder(tmp_path / "images", tmp_path / "shards", size=8)
    pixels = load(tmp_path).train.pixels[:]
    wanted = (np.arange(3)[:, None] + np.arange(64)) % 16 * 17
    np.testing.assert_array_equal(pixels[:, 0].reshape(3, 64), wanted)
    values = np.zeros((8, 8, 4), np.uint8)
    options = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    tifffile.imwrite(tmp_path / "images" / "a.tif", values, **options)
    with pytest.raises(LatentlabError, match=r"a.tif \(a channel that is neither colour nor alpha"):
        pack_folder(tmp_path / "images", tmp_path / "more", size=8)


def test_a_full_disk_leaves_no_files(tmp_path, images, monkeypatch) -> None:
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentlab.data.shards.write._Hashed.write", full)
    with pytest.raises(LatentlabError, match=r"out cannot be written .*No space left.*Free "):
        pack_folder(images, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
