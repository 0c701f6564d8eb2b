"""CIFAR-10: correct pixels, and an error for every type of damage."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from latentlab.data.settings import DataSettings
from latentlab.data.sources import cifar, load_source
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """Six files of ten records in the binary format of CIFAR-10, and their images."""
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
def test_records_contain_a_red_green_and_blue_plane(
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
    source = load_source(DataSettings(name="cifar10"), tmp_path)
    assert source.test is not None
    pixels = np.concatenate([source.train.pixels, source.test.pixels])
    np.testing.assert_array_equal(pixels.transpose(0, 2, 3, 1), colour)
    np.testing.assert_array_equal(source.train.labels, np.tile(np.arange(10), 5))
    assert not (tmp_path.parent / "outside").exists()
    assert not (tmp_path / "outside").exists()


def test_damaged_files_are_an_error(tmp_path, tiny_cifar, monkeypatch) -> None:
    content, _ = tiny_cifar
    settings = DataSettings(name="cifar10")
    with pytest.raises(LatentlabError, match=r"cifar-10-binary.tar.gz or its folder .* not found"):
        load_source(settings, tmp_path)
    archive = tmp_path / "cifar10" / cifar.ARCHIVE
    pack(archive, {"readme": b"hello"}, monkeypatch)
    with pytest.raises(LatentlabError, match=r"lacks cifar-10-batches-bin/data_batch_1.bin"):
        load_source(settings, tmp_path)
    archive.write_bytes(b"something else")
    with pytest.raises(LatentlabError, match="has the wrong checksum: MD5"):
        load_source(settings, tmp_path)
    folder = tmp_path / "cifar10" / cifar.FOLDER
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / "test_batch.bin").write_bytes(content["test_batch.bin"][:-1])
    with pytest.raises(LatentlabError, match=r"test_batch.bin is truncated: it has 30729 bytes"):
        load_source(settings, tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes([77]) + content["test_batch.bin"][1:])
    with pytest.raises(LatentlabError, match="has the label 77"):
        load_source(settings, tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes([3]) + content["test_batch.bin"][1:])
    with pytest.raises(LatentlabError, match="has the class counts"):
        load_source(settings, tmp_path)
