"""MNIST and Fashion-MNIST: correct pixels, and an error for every type of damage."""

import dataclasses
import gzip
import hashlib
import io
import os
import struct
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from latentlab.data.settings import DataSettings
from latentlab.data.sources import idx, load_source
from latentlab.utils.errors import LatentlabError


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A data set of 20 + 10 images with the name of MNIST and correct checksums."""
    rng = np.random.default_rng(0)
    arrays = {}
    files = []
    for old in idx.SETS["mnist"].files:
        shape = (20 if "train" in old.stem else 10, *old.shape[1:])
        values = rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
        arrays[old.stem] = values
        checksum = hashlib.sha256(idx_bytes(values)).hexdigest()
        files.append(dataclasses.replace(old, shape=shape, sha256=checksum))
    spec = dataclasses.replace(idx.SETS["mnist"], files=tuple(files))
    monkeypatch.setitem(idx.SETS, "mnist", spec)
    monkeypatch.setenv("LATENTLAB_DATA", str(tmp_path))
    return arrays


def put(folder: Path, arrays: dict[str, np.ndarray], packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, values in arrays.items():
        content = idx_bytes(values)
        if packed:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / stem).write_bytes(content)


@pytest.mark.parametrize("place", ["mnist", "mnist/MNIST/raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_plain_and_gzipped_files_are_read_from_all_folders(
    tmp_path, tiny_mnist, place, packed
) -> None:
    put(tmp_path / place, tiny_mnist, packed)
    source = load_source(DataSettings(name="mnist"), tmp_path)
    pixels, labels, *_ = tiny_mnist.values()
    np.testing.assert_array_equal(source.train.pixels, pixels[:, None])
    np.testing.assert_array_equal(source.train.labels, labels)
    assert source.test is not None
    assert source.test.labels is not None
    assert source.test.labels.dtype == np.int64


def test_missing_files_are_an_error_that_lists_them(tmp_path, tiny_mnist) -> None:
    put(tmp_path / "mnist", dict(list(tiny_mnist.items())[1:]))
    with pytest.raises(LatentlabError) as error:
        load_source(DataSettings(name="mnist"), tmp_path)
    message = str(error.value)
    assert f"Put train-images-idx3-ubyte[.gz] into {tmp_path / 'mnist'}" in message
    assert "Network is unreachable" in message
    assert "LATENTLAB_DATA" in message
    assert "labels" not in message


def test_downloaded_files_are_verified_and_stored(tmp_path, tiny_mnist, monkeypatch) -> None:
    class Response(io.BytesIO):
        headers = MappingProxyType({})

    def serve(url, timeout):
        return Response(gzip.compress(idx_bytes(tiny_mnist[url.rsplit("/", 1)[1][:-3]])))

    monkeypatch.setattr("urllib.request.urlopen", serve)
    source = load_source(DataSettings(name="mnist"), tmp_path)
    assert len(source.train.pixels) == 20
    assert len(list((tmp_path / "mnist").iterdir())) == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-7], r"train-images-idx3-ubyte is truncated: it has 15689 b"),
        (lambda content: b"\x89PNG" + content[4:], "starts with the bytes 89 50 4e 47; expected"),
        (lambda content: content[:5], r"declares the dimensions \(0, 0, 0\)"),
        (lambda content: b"", "starts with the bytes ; expected: 00 00 08 03"),
        (lambda content: content + b"more", "has at least 15697 bytes"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "has the wrong checksum: conte"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path, tiny_mnist, damage, message) -> None:
    put(tmp_path / "mnist", tiny_mnist)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LatentlabError, match=message) as error:
        load_source(DataSettings(name="mnist"), tmp_path)
    assert "Delete the file to download it again" in str(error.value)


def test_a_damaged_gzip_file_is_an_error(tmp_path, tiny_mnist) -> None:
    put(tmp_path / "mnist", tiny_mnist, packed=True)
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LatentlabError, match=r"t10k-images-idx3-ubyte.gz is truncated"):
        load_source(DataSettings(name="mnist"), tmp_path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(LatentlabError, match=r"cannot be decompressed .*expected: a gzip file"):
        load_source(DataSettings(name="mnist"), tmp_path)


def test_fashion_mnist_is_verified_by_md5_or_by_class_counts(tmp_path) -> None:
    file = idx.IdxFile("train-labels-idx1-ubyte", (20,), gz_md5="0" * 32)
    balanced = np.repeat(np.arange(10, dtype=np.uint8), 2)
    put(tmp_path, {file.stem: balanced})
    np.testing.assert_array_equal(idx.read_idx(tmp_path / file.stem, file), balanced)
    put(tmp_path, {file.stem: np.zeros(20, np.uint8)})
    with pytest.raises(LatentlabError, match=r"has the class counts \[20, 0"):
        idx.read_idx(tmp_path / file.stem, file)
    put(tmp_path, {file.stem: balanced}, packed=True)
    packed = tmp_path / f"{file.stem}.gz"
    with pytest.raises(LatentlabError, match="has the wrong checksum: MD5"):
        idx.read_idx(packed, file)
    right = dataclasses.replace(file, gz_md5=hashlib.md5(packed.read_bytes()).hexdigest())
    np.testing.assert_array_equal(idx.read_idx(packed, right), balanced)


@pytest.mark.mnist
def test_mnist_equals_torchvision(tmp_path) -> None:
    home = os.environ.get("LATENTLAB_DATA")
    if not home:
        pytest.skip("LATENTLAB_DATA is not set")
    from torchvision.datasets import MNIST

    source = load_source(DataSettings(name="mnist"), tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (Path(home) / "mnist").glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    for part, train in ((source.train, True), (source.test, False)):
        expected = MNIST(tmp_path, train=train)
        assert part is not None
        np.testing.assert_array_equal(part.pixels[:, 0], expected.data.numpy())
        np.testing.assert_array_equal(part.labels, expected.targets.numpy())
