"""Damaged files of every kind that is read: a LatentlabError or success, nothing else.

LATENTLAB_FUZZ=20000 tries that many cases of each reader (`make fuzz`); otherwise a few, the same
every time. Each test prints how many it tried and how many of them were refused.
"""

import dataclasses
import gzip
import io
import json
import os
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from latentlab.contracts import LatentlabError
from latentlab.data import decode
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.order import EpochOrder
from latentlab.data.pack import pack_folder
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source, idx, open_source

CASES = int(os.environ.get("LATENTLAB_FUZZ") or 0)
fuzz = settings(
    max_examples=CASES or 40,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# (kind of damage, where in the file as a share of its length, bytes)
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "overwrite", "repeat"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8),
    ),
    max_size=4,
)
files = edits.map(lambda todo: lambda whole: damaged(whole, todo)) | st.binary(max_size=1500).map(
    lambda junk: lambda _whole: junk
)
Damage = Callable[[bytes], bytes]


def damaged(whole: bytes, todo: list[tuple[str, float, bytes]]) -> bytes:
    data = bytearray(whole)
    for kind, share, content in todo:
        at = int(share * len(data))
        if kind == "flip" and data:
            data[min(at, len(data) - 1)] ^= content[0] or 1
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = content
        elif kind == "overwrite":
            data[at : at + len(content)] = content
        elif kind == "repeat":
            data[at:at] = data[at : at + 512]
    return bytes(data)


class Count:
    """How many cases a reader was given, and how many of them it refused."""

    def __init__(self) -> None:
        self.cases = self.refused = 0

    def __call__(self, read: Callable[[], object]) -> None:
        self.cases += 1
        try:
            read()
        except LatentlabError as error:
            self.refused += 1
            str(error).encode()  # can be printed whatever the file's name is


@pytest.fixture
def count(request, capsys):
    count = Count()
    yield count
    with capsys.disabled():
        if CASES:
            print(f"{request.node.name}: {count.cases} cases, {count.refused} refused")
    assert 0 < count.refused < count.cases, "the damage was never noticed, or nothing was readable"


@pytest.fixture
def folder():
    """In memory where there is such a place: 100,000 cases must take minutes."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """A pool for every case would cost more than the case."""

    class Pool:
        def __init__(self, *_args) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *_args) -> None: ...

        map = staticmethod(map)

    monkeypatch.setattr(decode, "ThreadPoolExecutor", Pool)


def picture(kind: str, value: int = 0, size: tuple[int, int] = (5, 4)) -> bytes:
    target = io.BytesIO()
    levels = np.random.default_rng(value).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(levels).save(target, kind)
    return target.getvalue()


def test_idx(folder, count) -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 2)
    whole = bytes([0, 0, 8, 1, 0, 0, 0, 20]) + labels.tobytes()
    file = idx.IdxFile("labels", (20,))
    plain, packed = folder / "labels", folder / "labels.gz"
    zipped = gzip.compress(whole, mtime=0)

    @fuzz
    @given(files, st.booleans())
    def run(damage: Damage, compressed: bool) -> None:
        path = packed if compressed else plain
        path.write_bytes(damage(zipped if compressed else whole))
        count(lambda: idx.read_idx(path, dataclasses.replace(file)))

    run()


def test_image_folder(folder, count) -> None:
    kinds = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
    wholes = [picture(kind) for kind in kinds]
    (folder / "images" / "a").mkdir(parents=True)
    (folder / "images" / "b").mkdir()
    (folder / "images" / "b" / "good.png").write_bytes(wholes[0])
    chosen = DataSettings(name="image_folder", folder="images", size=3)

    @fuzz
    @given(files, st.sampled_from(range(len(kinds))))
    def run(damage: Damage, kind: int) -> None:
        (folder / "images" / "a" / "x").write_bytes(damage(wholes[kind]))
        count(lambda: open_source(chosen, folder))

    run()


@pytest.fixture
def shards(folder) -> Path:
    (folder / "images" / "cat").mkdir(parents=True)
    (folder / "images" / "dog").mkdir()
    for number, name in enumerate(("cat/a", "cat/b", "dog/c")):
        (folder / "images" / name).write_bytes(picture("png", number))
    pack_folder(folder / "images", folder / "shards", per_shard=2)
    return folder / "shards"


SHARDS = DataSettings(name="shards", folder="shards", size=3, on_unreadable="skip")


def test_manifest(folder, shards, count) -> None:
    path = shards / "manifest.json"
    whole = path.read_bytes()

    @fuzz
    @given(files)
    def run(damage: Damage) -> None:
        path.write_bytes(damage(whole))
        count(lambda: open_source(SHARDS, folder))

    run()


@pytest.mark.parametrize("kind", ["pax", "gnu"])
def test_tar_without_a_checksum(folder, kind, count) -> None:
    form = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}[kind]
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for name, content in {
            "a.png": picture("png"),
            "a.cls": b"3",
            "ü" * 60 + ".png": picture("png", 1),
            "ü" * 60 + ".cls": b"1",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    whole = target.getvalue()[: 512 * 15]  # most of the padding at the end would be hit in vain
    assert whole.endswith(bytes(512))
    (folder / "shards").mkdir()

    @fuzz
    @given(files)
    def run(damage: Damage) -> None:
        (folder / "shards" / "x.tar").write_bytes(damage(whole))
        count(lambda: open_source(SHARDS, folder))

    run()


def test_prepared(folder, count) -> None:
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)
    source = Source("toy", Images(pixels, np.arange(40) % 2, range(40)), None, ("a", "b"))
    prepared = folder / "prepared"
    write_prepared(source, DataSettings(), 0, prepared)
    wholes = {
        name: (prepared / name).read_bytes()
        for name in ("meta.json", "train_images.npy", "train_labels.npy")
    }

    def read() -> None:
        meta = read_meta(prepared)
        assert meta.facts["image_shape"]
        order = EpochOrder(meta.counts["train"], 4)
        memory = MemoryLoader(read_split(prepared, "train"), order)
        stream = StreamLoader(prepared, "train", order)
        for loader in (memory, stream):
            images, labels = next(iter(loader))
            assert images.shape == (4, *meta.image_shape)
            assert labels.shape == (4,)

    @fuzz
    @given(files, st.sampled_from(sorted(wholes)))
    def run(damage: Damage, name: str) -> None:
        (prepared / name).write_bytes(damage(wholes[name]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy on headers of Python 2
            count(read)
        (prepared / name).write_bytes(wholes[name])

    run()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("place", ["meta", "manifest"])
def test_json_with_other_values(folder, shards, place, count) -> None:
    """Valid JSON of the wrong kind, which changed bytes seldom are."""
    pixels = np.zeros((10, 1, 2, 2), np.uint8)
    source = Source("toy", Images(pixels, None, range(10)), None, None)
    write_prepared(source, DataSettings(), 0, folder / "prepared")
    path = folder / "prepared" / "meta.json" if place == "meta" else shards / "manifest.json"
    whole = json.loads(path.read_text())
    deeper = {
        "meta": [("counts", "train"), ("image_shape", 0)],
        "manifest": [("shards", 0), ("shards", 0, "file"), ("shards", 0, "bytes")],
    }
    keys = [(key,) for key in whole] + deeper[place]

    @fuzz
    @given(st.sampled_from(keys), json_values | st.just("leave"))
    def run(keys: tuple, value: object) -> None:
        told = json.loads(json.dumps(whole))
        target = told
        for key in keys[:-1]:
            target = target[key]
        if value != "leave":
            target[keys[-1]] = value
        path.write_text(json.dumps(told))
        if place == "meta":
            count(lambda: read_split(folder / "prepared", "train"))
        else:
            count(lambda: open_source(SHARDS, folder))

    run()
