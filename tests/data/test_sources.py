"""The public sets: right pixels, and an error for every kind of damage."""

import dataclasses
import gzip
import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from sklearn.datasets import load_digits as sklearn_digits

from latentlab.contracts import LatentlabError
from latentlab.data.settings import DataSettings
from latentlab.data.sources import cifar, idx, open_source


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test here may reach a network; each sees what an offline user sees."""

    def refuse(*_args, **_kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def test_digits_are_scikit_learns() -> None:
    source = open_source(DataSettings(), Path("."))
    truth = sklearn_digits()
    np.testing.assert_allclose(
        source.train.pixels[:, 0] / 255 * 16, truth.images, atol=0.5 * 16 / 255
    )
    np.testing.assert_array_equal(source.train.labels, truth.target)
    assert source.train.pixels.max() == 255
    assert source.test is None


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A set of 20 + 10 images under MNIST's name, with true checksums."""
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
def test_idx_is_read_plain_and_packed_from_all_layouts(tmp_path, tiny_mnist, place, packed) -> None:
    put(tmp_path / place, tiny_mnist, packed)
    source = open_source(DataSettings(name="mnist"), tmp_path)
    pixels, labels, *_ = tiny_mnist.values()
    np.testing.assert_array_equal(source.train.pixels, pixels[:, None])
    np.testing.assert_array_equal(source.train.labels, labels)
    assert source.test is not None
    assert source.test.labels is not None
    assert source.test.labels.dtype == np.int64


def test_absent_files_are_listed_with_their_place(tmp_path, tiny_mnist) -> None:
    put(tmp_path / "mnist", dict(list(tiny_mnist.items())[1:]))
    with pytest.raises(LatentlabError) as error:
        open_source(DataSettings(name="mnist"), tmp_path)
    told = str(error.value)
    assert f"Put train-images-idx3-ubyte[.gz] into {tmp_path / 'mnist'}" in told
    assert "Network is unreachable" in told
    assert "LATENTLAB_DATA" in told
    assert "labels" not in told


def test_downloaded_files_are_verified_and_kept(tmp_path, tiny_mnist, monkeypatch) -> None:
    class Response(io.BytesIO):
        headers = MappingProxyType({})

    def serve(url, timeout):
        return Response(gzip.compress(idx_bytes(tiny_mnist[url.rsplit("/", 1)[1][:-3]])))

    monkeypatch.setattr("urllib.request.urlopen", serve)
    source = open_source(DataSettings(name="mnist"), tmp_path)
    assert len(source.train.pixels) == 20
    assert len(list((tmp_path / "mnist").iterdir())) == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-7], r"train-images-idx3-ubyte is truncated: it holds 15689 b"),
        (lambda content: b"\x89PNG" + content[4:], "starts with the bytes 89 50 4e 47; expected"),
        (lambda content: content[:5], r"declares the dimensions \(0, 0, 0\)"),
        (lambda content: b"", "starts with the bytes ; expected: 00 00 08 03"),
        (lambda content: content + b"more", "holds at least 15697 bytes"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "has the wrong checksum: conte"),
    ],
)
def test_damage_is_named(tmp_path, tiny_mnist, damage, message) -> None:
    put(tmp_path / "mnist", tiny_mnist)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LatentlabError, match=message) as error:
        open_source(DataSettings(name="mnist"), tmp_path)
    assert "Delete the file to have it downloaded again" in str(error.value)


def test_damaged_gzip_is_named(tmp_path, tiny_mnist) -> None:
    put(tmp_path / "mnist", tiny_mnist, packed=True)
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LatentlabError, match=r"t10k-images-idx3-ubyte.gz is truncated"):
        open_source(DataSettings(name="mnist"), tmp_path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(LatentlabError, match=r"cannot be decompressed .*expected: a gzip file"):
        open_source(DataSettings(name="mnist"), tmp_path)


def test_fashion_archives_go_by_md5_and_plain_files_by_class_counts(tmp_path) -> None:
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
def test_real_mnist_is_torchvisions(tmp_path) -> None:
    home = os.environ.get("LATENTLAB_DATA")
    if not home:
        pytest.skip("LATENTLAB_DATA is not set")
    from torchvision.datasets import MNIST

    source = open_source(DataSettings(name="mnist"), tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (Path(home) / "mnist").glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    for part, train in ((source.train, True), (source.test, False)):
        truth = MNIST(tmp_path, train=train)
        assert part is not None
        np.testing.assert_array_equal(part.pixels[:, 0], truth.data.numpy())
        np.testing.assert_array_equal(part.labels, truth.targets.numpy())


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """Six files of ten records in CIFAR-10's binary format, and what is in them."""
    monkeypatch.setattr(cifar, "RECORDS", 10)
    monkeypatch.setenv("LATENTLAB_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    content, images = {}, []
    for name in (*cifar.TRAIN_FILES, *cifar.TEST_FILES):
        colour = rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
        images.append(colour)
        content[name] = b"".join(
            bytes([label])
            + bytes(image[..., 0].ravel())
            + bytes(image[..., 1].ravel())
            + bytes(image[..., 2].ravel())
            for label, image in enumerate(colour)
        )
    return content, np.concatenate(images)


def pack(path: Path, content: dict[str, bytes], monkeypatch) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("packed", [True, False])
def test_cifar_records_are_planes_of_red_green_blue(
    tmp_path, tiny_cifar, packed, monkeypatch
) -> None:
    content, colour = tiny_cifar
    if packed:
        members = {f"{cifar.FOLDER}/{name}": data for name, data in content.items()}
        members["../outside"] = b"must not be unpacked"
        pack(tmp_path / "cifar10" / cifar.ARCHIVE, members, monkeypatch)
    else:
        (tmp_path / cifar.FOLDER).mkdir()
        for name, data in content.items():
            (tmp_path / cifar.FOLDER / name).write_bytes(data)
    source = open_source(DataSettings(name="cifar10"), tmp_path)
    assert source.test is not None
    pixels = np.concatenate([source.train.pixels, source.test.pixels])
    np.testing.assert_array_equal(pixels.transpose(0, 2, 3, 1), colour)
    np.testing.assert_array_equal(source.train.labels, np.tile(np.arange(10), 5))
    assert not (tmp_path.parent / "outside").exists()
    assert not (tmp_path / "outside").exists()


def test_damaged_cifar_is_named(tmp_path, tiny_cifar, monkeypatch) -> None:
    content, _ = tiny_cifar
    settings = DataSettings(name="cifar10")
    with pytest.raises(LatentlabError, match=r"cifar-10-binary.tar.gz or its folder .* not found"):
        open_source(settings, tmp_path)
    archive = tmp_path / "cifar10" / cifar.ARCHIVE
    pack(archive, {"readme": b"hello"}, monkeypatch)
    with pytest.raises(LatentlabError, match=r"lacks cifar-10-batches-bin/data_batch_1.bin"):
        open_source(settings, tmp_path)
    archive.write_bytes(b"something else")
    with pytest.raises(LatentlabError, match="has the wrong checksum: MD5"):
        open_source(settings, tmp_path)
    folder = tmp_path / "cifar10" / cifar.FOLDER
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / "test_batch.bin").write_bytes(content["test_batch.bin"][:-1])
    with pytest.raises(LatentlabError, match=r"test_batch.bin is truncated: it holds 30729 bytes"):
        open_source(settings, tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes([77]) + content["test_batch.bin"][1:])
    with pytest.raises(LatentlabError, match="holds the label 77"):
        open_source(settings, tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes([3]) + content["test_batch.bin"][1:])
    with pytest.raises(LatentlabError, match="has the class counts"):
        open_source(settings, tmp_path)
