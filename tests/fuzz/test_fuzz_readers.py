"""Damaged files of every format: reading them succeeds or raises LatentlabError.

LATENTLAB_FUZZ=20000 runs that many cases of each reader (`make fuzz`). Without it, each reader gets
a few cases, the same in every run. Each test prints its number of cases and of errors.
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

from latentlab.data import decoding
from latentlab.data.batch_sampler import EpochBatchSampler
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.shards.write import pack_folder
from latentlab.data.sources import Images, Source, idx, load_source
from latentlab.utils.errors import LatentlabError

CASES = int(os.environ.get("LATENTLAB_FUZZ") or 0)
fuzz = settings(
    max_examples=CASES or 40,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# (damage, position as a fraction of the length of the file, bytes)
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "overwrite", "repeat"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8),
    ),
    max_size=4,
)
files = edits.map(lambda some: lambda content: damaged(content, some)) | st.binary(
    max_size=1500
).map(lambda noise: lambda _content: noise)
Damage = Callable[[bytes], bytes]


def damaged(original: bytes, some_edits: list[tuple[str, float, bytes]]) -> bytes:
    """Apply the edits to the content of a file."""
    data = bytearray(original)
    for edit, fraction, content in some_edits:
        at = int(fraction * len(data))
        if edit == "flip" and data:
            data[min(at, len(data) - 1)] ^= content[0] or 1
        elif edit == "cut":
            del data[at:]
        elif edit == "insert":
            data[at:at] = content
        elif edit == "overwrite":
            data[at : at + len(content)] = content
        elif edit == "repeat":
            data[at:at] = data[at : at + 512]
    return bytes(data)


class Count:
    """Number of cases of a reader, and number of its errors."""

    def __init__(self) -> None:
        self.cases = self.errors = 0

    def __call__(self, read: Callable[[], object]) -> None:
        self.cases += 1
        try:
            read()
        except LatentlabError as error:
            self.errors += 1
            str(error).encode()  # the message can be printed for any file name


@pytest.fixture
def count(request, capsys):
    count = Count()
    yield count
    with capsys.disabled():
        if CASES:
            print(f"{request.node.name}: {count.cases} cases, {count.errors} errors")
    assert 0 < count.errors < count.cases, "no case was an error, or all cases were"


@pytest.fixture
def folder():
    """A temporary folder, in memory if possible, so that 100,000 cases take minutes."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """A thread pool takes more time than a case."""

    class Pool:
        def __init__(self, *_args) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *_args) -> None: ...

        map = staticmethod(map)

    monkeypatch.setattr(decoding, "ThreadPoolExecutor", Pool)


def image_file(image_format: str, seed: int = 0, size: tuple[int, int] = (5, 4)) -> bytes:
    """A small image of random pixels in this format."""
    target = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(target, image_format)
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
    formats = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
    originals = [image_file(name) for name in formats]
    (folder / "images" / "a").mkdir(parents=True)
    (folder / "images" / "b").mkdir()
    (folder / "images" / "b" / "good.png").write_bytes(originals[0])
    chosen = DataSettings(name="image_folder", folder="images", size=3)

    @fuzz
    @given(files, st.sampled_from(range(len(formats))))
    def run(damage: Damage, index: int) -> None:
        (folder / "images" / "a" / "x").write_bytes(damage(originals[index]))
        count(lambda: load_source(chosen, folder))

    run()


@pytest.fixture
def shards(folder) -> Path:
    (folder / "images" / "cat").mkdir(parents=True)
    (folder / "images" / "dog").mkdir()
    for number, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        (folder / "images" / name).write_bytes(image_file("png", number))
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
        count(lambda: load_source(SHARDS, folder))

    run()


@pytest.mark.parametrize("name", ["pax", "gnu"])
def test_tar_without_a_checksum(folder, name, count) -> None:
    tar_format = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}[name]
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tar_format) as tar:
        for path, content in {
            "a.png": image_file("png"),
            "a.cls": b"3",
            "ü" * 60 + ".png": image_file("png", 1),
            "ü" * 60 + ".cls": b"1",
        }.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    whole = target.getvalue()[: 512 * 15]  # without most of the padding, where edits have no effect
    assert whole.endswith(bytes(512))
    (folder / "shards").mkdir()

    @fuzz
    @given(files)
    def run(damage: Damage) -> None:
        (folder / "shards" / "x.tar").write_bytes(damage(whole))
        count(lambda: load_source(SHARDS, folder))

    run()


def test_prepared(folder, count) -> None:
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)
    source = Source("toy", Images(pixels, np.arange(40) % 2, range(40)), None, ("a", "b"))
    prepared = folder / "prepared"
    write_prepared(source, DataSettings(), 0, prepared)
    originals = {
        name: (prepared / name).read_bytes()
        for name in ("meta.json", "train_images.npy", "train_labels.npy")
    }

    def read() -> None:
        info = read_meta(prepared)
        assert info.data_spec["image_shape"]
        sampler = EpochBatchSampler(info.counts["train"], 4)
        memory = MemoryLoader(read_split(prepared, "train"), sampler)
        stream = StreamLoader(prepared, "train", sampler)
        for loader in (memory, stream):
            images, labels = next(iter(loader))
            assert images.shape == (4, *info.image_shape)
            assert labels.shape == (4,)

    @fuzz
    @given(files, st.sampled_from(sorted(originals)))
    def run(damage: Damage, name: str) -> None:
        (prepared / name).write_bytes(damage(originals[name]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns about headers of Python 2
            count(read)
        (prepared / name).write_bytes(originals[name])

    run()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("file", ["meta", "manifest"])
def test_json_with_other_values(folder, shards, file, count) -> None:
    """Valid JSON with wrong values; changed bytes rarely are valid JSON."""
    pixels = np.zeros((10, 1, 2, 2), np.uint8)
    source = Source("toy", Images(pixels, None, range(10)), None, None)
    write_prepared(source, DataSettings(), 0, folder / "prepared")
    path = folder / "prepared" / "meta.json" if file == "meta" else shards / "manifest.json"
    whole = json.loads(path.read_text())
    deeper = {
        "meta": [("counts", "train"), ("image_shape", 0)],
        "manifest": [("shards", 0), ("shards", 0, "file"), ("shards", 0, "bytes")],
    }
    keys = [(key,) for key in whole] + deeper[file]

    @fuzz
    @given(st.sampled_from(keys), json_values | st.just("leave"))
    def run(keys: tuple, value: object) -> None:
        content = json.loads(json.dumps(whole))
        target = content
        for key in keys[:-1]:
            target = target[key]
        if value != "leave":
            target[keys[-1]] = value
        path.write_text(json.dumps(content))
        if file == "meta":
            count(lambda: read_split(folder / "prepared", "train"))
        else:
            count(lambda: load_source(SHARDS, folder))

    run()
