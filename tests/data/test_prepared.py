"""The prepared folder: complete or absent, the same bytes for the same seed, read as written."""

import csv
import hashlib
import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from image_files import files_of
from latentlab.config.problems import Report
from latentlab.data import prepared
from latentlab.data.batch_sampler import EpochBatchSampler
from latentlab.data.disk_array import DiskArray
from latentlab.data.loaders import StreamLoader
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.utils.errors import LatentlabError

SPLITS = ("train", "val", "test")


def make_source(count: int = 1200, official: int = 0, labelled: bool = True) -> Source:
    """The first two pixels of image i are the bytes of i, so that each row can be identified."""

    def part(first: int, size: int) -> Images:
        numbers = np.arange(first, first + size)
        pixels = np.zeros((size, 1, 2, 2), np.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers % 256, numbers // 256
        return Images(pixels, numbers % 3 if labelled else None, [f'f,"{n}"' for n in numbers])

    classes = ("a", "b", "c") if labelled else None
    return Source("toy", part(0, count), part(count, official) if official else None, classes)


def numbers(images: torch.Tensor) -> np.ndarray:
    """The number i of each image."""
    return images[:, 0, 0, 0].numpy().astype(int) + 256 * images[:, 0, 0, 1].numpy().astype(int)


@pytest.mark.parametrize("mmap", [False, True])
def test_read_returns_what_was_written_and_split_csv_has_the_origin(tmp_path, mmap) -> None:
    folder = tmp_path / "data" / "prepared"
    info = write_prepared(make_source(), DataSettings(), 3, folder)
    assert info == read_meta(folder)
    assert info.image_shape == (1, 2, 2)
    assert info.data_spec == {"image_shape": (1, 2, 2), "num_classes": 3}
    assert info.counts == {"train": 840, "val": 120, "test": 240}
    with (folder / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for name in SPLITS:
        split = read_split(folder, name, mmap=mmap)
        assert split.images.dtype == torch.uint8
        assert split.labels is not None
        listed = [row for row in rows if row["split"] == name]
        assert [row["source"] for row in listed] == [f'f,"{n}"' for n in numbers(split.images)]
        assert [int(row["label"]) for row in listed] == split.labels.tolist()
        np.testing.assert_array_equal(split.labels, numbers(split.images) % 3)
        found.append(numbers(split.images))
    assert sorted(np.concatenate(found)) == list(range(1200))


def test_the_bytes_depend_on_the_seed(tmp_path) -> None:
    made = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for folder, seed in zip(made, (1, 1, 2), strict=True):
        write_prepared(make_source(), DataSettings(), seed, folder)
    assert files_of(made[0]) == files_of(made[1])
    assert read_meta(made[0]).sha256 != read_meta(made[2]).sha256


def test_the_checksum_covers_images_and_labels(tmp_path) -> None:
    source = make_source(30)
    first = write_prepared(source, DataSettings(), 0, tmp_path / "p").sha256
    source.train.pixels[4, 0, 1, 1] ^= 1
    second = write_prepared(source, DataSettings(), 0, tmp_path / "p").sha256
    assert source.train.labels is not None
    unlabelled = make_source(30, labelled=False)
    third = write_prepared(unlabelled, DataSettings(), 0, tmp_path / "p").sha256
    assert len({first, second, third}) == 3


def test_an_official_test_split_is_kept(tmp_path) -> None:
    info = write_prepared(make_source(100, official=40), DataSettings(), 0, tmp_path / "p")
    assert info.counts == {"train": 90, "val": 10, "test": 40}
    test = read_split(tmp_path / "p", "test")
    assert sorted(numbers(test.images)) == list(range(100, 140))


def test_images_without_labels(tmp_path) -> None:
    write_prepared(make_source(labelled=False), DataSettings(), 0, tmp_path / "p")
    assert not list((tmp_path / "p").glob("*labels*"))
    assert read_split(tmp_path / "p", "train").labels is None
    assert read_meta(tmp_path / "p").num_classes == 0
    assert (tmp_path / "p" / "split.csv").read_text().splitlines()[1].endswith('""",')


def test_images_in_arrays_are_resized(tmp_path) -> None:
    settings = DataSettings(size=6, channels=3)
    info = write_prepared(make_source(30), settings, 0, tmp_path / "p")
    assert info.image_shape == (3, 6, 6)
    assert read_split(tmp_path / "p", "val").images.shape == (3, 3, 6, 6)


def test_a_failure_does_not_change_the_old_folder(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "prepared"
    write_prepared(make_source(30), DataSettings(), 0, folder)
    before = files_of(folder)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(LatentlabError, match="No space left"):
            write_prepared(make_source(60), DataSettings(), 0, folder)
    assert files_of(folder) == before
    with pytest.raises(LatentlabError, match=r"1 image cannot fill 3 splits"):
        write_prepared(make_source(1), DataSettings(), 0, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_files_of_a_killed_run_have_no_effect(tmp_path) -> None:
    (tmp_path / ".prepared.partial").mkdir()
    (tmp_path / ".prepared.partial" / "stale.npy").touch()
    write_prepared(make_source(30), DataSettings(), 0, tmp_path / "prepared")
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]
    assert not (tmp_path / "prepared" / "stale.npy").exists()


def delete(folder: Path, name: str) -> None:
    (folder / name).unlink()


def edit(folder: Path, **values) -> None:
    """Change meta.json."""
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: delete(f, "meta.json"), "meta.json cannot be read"),
        (lambda f: (f / "meta.json").write_text('{"name":'), "meta.json cannot be read"),
        (lambda f: (f / "meta.json").write_text("[]"), "meta.json cannot be read"),
        (lambda f: (f / "meta.json").write_text("0"), "int instead of an object"),
        (lambda f: edit(f, counts={"train": 1, "val": -3, "test": 1}), "not positive integers"),
        (lambda f: edit(f, image_shape=[1, 2, "2"]), "not positive integers"),
        (lambda f: edit(f, image_shape=[1, 2]), "meta.json cannot be read"),
        (lambda f: edit(f, classes=["a", 2]), "names are not text"),
        (lambda f: edit(f, seed="0"), "the seed is not an integer"),
        (lambda f: delete(f, "val_images.npy"), "val_images.npy cannot be read"),
        (lambda f: delete(f, "val_labels.npy"), "val_labels.npy cannot be read"),
        (
            lambda f: (f / "val_images.npy").write_bytes((f / "val_images.npy").read_bytes()[:-1]),
            r"val_images.npy has uint8 \(3, 1, 2, 2\) in 139 bytes, .* which is 140 bytes",
        ),
        (
            lambda f: np.save(f / "val_images.npy", np.zeros((4, 1, 2, 2), np.uint8)),
            r"val_images.npy has uint8 \(4, 1, 2, 2\) in .* has uint8 \(3, 1, 2, 2\), which",
        ),
        (
            lambda f: np.save(f / "val_labels.npy", np.array([{}] * 3), allow_pickle=True),
            r"val_labels.npy has object \(3,\)",
        ),
    ],
)
def test_an_incomplete_folder_is_an_error(tmp_path, damage, message) -> None:
    write_prepared(make_source(30), DataSettings(), 0, tmp_path / "p")
    damage(tmp_path / "p")
    with pytest.raises(LatentlabError, match=rf"(?s){message}.*Run `dvc repro prepare`"):
        read_split(tmp_path / "p", "val")


def test_images_that_do_not_fit_memory_are_mapped(tmp_path, monkeypatch) -> None:
    write_prepared(make_source(30), DataSettings(), 0, tmp_path / "p")
    in_memory = read_split(tmp_path / "p", "train").images
    monkeypatch.setattr(prepared, "fits_memory", lambda size: size < 21 * 4)
    mapped = read_split(tmp_path / "p", "train").images
    assert torch.equal(in_memory, mapped)
    in_memory[0] = 1  # a copy, not a map
    with (tmp_path / "p" / "train_images.npy").open("rb+") as file:
        file.seek(-1, 2)
        file.write(b"\x77")
    assert mapped[-1, 0, 1, 1] == 0x77
    assert in_memory[-1, 0, 1, 1] != 0x77


def test_an_unknown_split_is_an_error(tmp_path) -> None:
    with pytest.raises(
        LatentlabError, match=r"'valid' is not a split\. Choose one of: train, val, test"
    ):
        read_split(tmp_path, "valid")


def test_the_checksum_is_of_the_arrays_only(tmp_path) -> None:
    write_prepared(make_source(30), DataSettings(), 0, tmp_path / "p")
    digest = hashlib.sha256()
    for name in SPLITS:
        images = np.load(tmp_path / "p" / f"{name}_images.npy", allow_pickle=False)
        labels = np.load(tmp_path / "p" / f"{name}_labels.npy", allow_pickle=False)
        digest.update(repr(images.shape).encode() + images.tobytes() + labels.tobytes())
    assert json.loads((tmp_path / "p" / "meta.json").read_text())["sha256"] == digest.hexdigest()


def test_chunks_do_not_change_the_bytes(tmp_path, monkeypatch) -> None:
    write_prepared(make_source(50), DataSettings(), 0, tmp_path / "one chunk")
    monkeypatch.setattr(prepared, "CHUNK_BYTES", 7 * 4)
    write_prepared(make_source(50), DataSettings(), 0, tmp_path / "chunks")
    assert files_of(tmp_path / "one chunk") == files_of(tmp_path / "chunks")


def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch) -> None:
    """Neither in `prepare` nor in streaming. tracemalloc ignores maps, so look for maps too."""
    monkeypatch.setattr(prepared, "CHUNK_BYTES", 2**20)
    count, shape = 6000, (3, 64, 64)
    with (tmp_path / "sparse").open("wb+") as file:
        file.truncate(count * 3 * 64 * 64)  # 74 MB that take no disk
        rows = DiskArray(file.fileno(), (count, *shape))
    source = Source("toy", Images(rows, None, range(count)), None, None)
    tracemalloc.start()
    info = write_prepared(source, DataSettings(), 0, tmp_path / "p")
    order = EpochBatchSampler(info.counts["train"], 16)
    for x, _ in StreamLoader(tmp_path / "p", "train", order, num_workers=1):
        assert x.shape == (16, *shape)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    maps = Path("/proc/self/maps")
    if maps.is_file():
        assert str(tmp_path) not in maps.read_text()


def test_the_stage_writes_digits_and_prints_a_summary(tmp_path, monkeypatch, capsys) -> None:
    from latentlab.stages import prepare

    place = tmp_path / "data" / "prepared"
    project = SimpleNamespace(
        root=tmp_path, seed=4, data=DataSettings(name="digits"), prepared=place
    )
    monkeypatch.setattr(prepare, "load_project", lambda: project)
    monkeypatch.setattr(prepare, "check_project", lambda root: Report())
    prepare.main([])
    assert capsys.readouterr().out == (
        "prepared digits: 1,797 images of 1 × 8 × 8 (1258 train, 180 val, 359 test), 10 classes\n"
    )
    assert read_meta(place).seed == 4
