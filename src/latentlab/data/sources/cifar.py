"""CIFAR-10 in its binary version: records of 3073 bytes, without pickle.

A record is one label byte, then the red, green and blue plane of a 32 × 32 image, row by row.
A. Krizhevsky (2009), "Learning multiple layers of features from tiny images".

The archive is verified by its published MD5. For unpacked files, the length, the range of the
labels and the equal class counts are verified.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentlab.data.download import download, file_md5
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source, not_found, raw_folder
from latentlab.utils.errors import LatentlabError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
RECORDS = 10_000  # in each file
SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def load(settings: DataSettings, root: Path) -> Source:
    """Load the archive, or its unpacked folder, from cifar10/ in `raw_folder`, or download it.

    Raises:
        LatentlabError: the files are missing and cannot be downloaded, or they are damaged.
    """
    raw = raw_folder(root)
    places = (raw / "cifar10", raw)
    folder = next((place / FOLDER for place in places if (place / FOLDER).is_dir()), None)
    if folder is not None:
        return _assemble(folder, lambda name: _read_file(folder / name))
    archive = next((place / ARCHIVE for place in places if (place / ARCHIVE).is_file()), None)
    if archive is None:
        archive = places[0] / ARCHIVE
        try:
            download([URL], archive, _check_archive)
        except LatentlabError as error:
            raise not_found("cifar10", f"{ARCHIVE} or its folder {FOLDER}", raw, error) from error
    else:
        _check_archive(archive)
    try:
        # Nothing is unpacked to disk, so names and types of the members are not a risk.
        with tarfile.open(archive, "r:gz") as tar:
            members = {member.name: member for member in tar if member.isreg()}
            return _assemble(archive, lambda name: _read_member(tar, members, name))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise _damaged(archive, f"cannot be unpacked ({error})", "a tar.gz archive") from error


def parse_records(content: bytes, count: int, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """`count` binary records → images uint8 (count, 3, 32, 32) and labels int64 (count,).

    Raises:
        LatentlabError: another number of bytes, or a label above 9.
    """
    if len(content) != count * RECORD_BYTES:
        state = "is truncated: it has" if len(content) < count * RECORD_BYTES else "has"
        raise _damaged(where, f"{state} {len(content)} bytes", f"{count * RECORD_BYTES} bytes")
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise _damaged(where, f"has the label {labels.max()}", "labels 0 to 9")
    return records[:, 1:].reshape(count, *SHAPE), labels


def _assemble(where: Path, read: Callable[[str], bytes]) -> Source:
    parts = []
    for names in (TRAIN_FILES, TEST_FILES):
        pairs = [parse_records(read(name), RECORDS, where / name) for name in names]
        labels = np.concatenate([pair[1] for pair in pairs])
        counts = np.bincount(labels, minlength=len(CLASSES))
        if (counts != len(labels) // len(CLASSES)).any():
            raise _damaged(where, f"has the class counts {counts.tolist()}", "ten equal counts")
        pixels = np.concatenate([pair[0] for pair in pairs])
        parts.append(Images(pixels, labels, range(len(labels))))
    return Source("cifar10", parts[0], parts[1], CLASSES)


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise _damaged(path, "is missing", f"{RECORDS * RECORD_BYTES} bytes")
    with path.open("rb") as file:
        return file.read(RECORDS * RECORD_BYTES + 1)


def _read_member(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    member = members.get(f"{FOLDER}/{name}")
    file = tar.extractfile(member) if member else None
    if file is None:
        raise _damaged(Path(str(tar.name)), f"lacks {FOLDER}/{name}", "the binary version")
    return file.read(RECORDS * RECORD_BYTES + 1)


def _check_archive(path: Path) -> None:
    if (found := file_md5(path)) != ARCHIVE_MD5:
        raise _damaged(path, f"has the wrong checksum: MD5 {found}", ARCHIVE_MD5)


def _damaged(path: Path, found: str, expected: str) -> LatentlabError:
    return LatentlabError(
        f"{path} {found}; expected: {expected}. Delete it to download {ARCHIVE} again, or put an "
        "undamaged copy of the binary version in its place. The Python version is not supported."
    )
