"""MNIST and Fashion-MNIST from IDX files, plain or gzipped. Each file is verified.

Format: two zero bytes, the element type (8: unsigned byte), the number of dimensions, each
dimension as a big-endian 32-bit integer, then the bytes. Y. LeCun et al. (1998), "Gradient-based
learning applied to document recognition"; H. Xiao et al. (2017), "Fashion-MNIST".

MNIST's files are verified by the SHA-256 of their decompressed content, which does not depend on
the compression. For Fashion-MNIST only the MD5 of the .gz files is published. For its plain files,
the magic number, dimensions, length and equal class counts are verified.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentlab.data.download import download, file_md5
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source, not_found, raw_folder
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class IdxFile:
    """One file: its name without .gz, the shape of its array, and its checksum."""

    stem: str
    shape: tuple[int, ...]
    sha256: str | None = None  # of the decompressed content
    gz_md5: str | None = None  # of the .gz file


@dataclass(frozen=True)
class IdxSet:
    """A data set: class names, its folder in torchvision's layout, mirrors, and four files."""

    classes: tuple[str, ...]
    torchvision: str
    mirrors: tuple[str, ...]
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]


def _files(check: str, *sums: str) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
    a, b, c, d = ({check: checksum} for checksum in sums)
    return (
        IdxFile("train-images-idx3-ubyte", (60_000, 28, 28), **a),
        IdxFile("train-labels-idx1-ubyte", (60_000,), **b),
        IdxFile("t10k-images-idx3-ubyte", (10_000, 28, 28), **c),
        IdxFile("t10k-labels-idx1-ubyte", (10_000,), **d),
    )


SETS = {
    "mnist": IdxSet(
        tuple("0123456789"),
        "MNIST",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _files(
            "sha256",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": IdxSet(
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        "FashionMNIST",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        _files(
            "gz_md5",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}


def load(settings: DataSettings, root: Path) -> Source:
    """Load `settings.name`, "mnist" or "fashion_mnist", from `raw_folder`, or download it.

    The files are in <name>/, or in the folders that torchvision uses.

    Raises:
        LatentlabError: a file is missing and cannot be downloaded, or it is damaged.
    """
    name, raw = settings.name, raw_folder(root)
    spec = SETS[name]
    folders = [raw / name, raw / name / spec.torchvision / "raw", raw / spec.torchvision / "raw"]
    missing = [file.stem for file in spec.files if _find(file, folders) is None]
    for file in spec.files:
        if file.stem in missing:
            target = folders[0] / f"{file.stem}.gz"
            urls = [f"{mirror}{target.name}" for mirror in spec.mirrors]
            try:
                download(urls, target, partial(read_idx, file=file))
            except LatentlabError as error:
                names = ", ".join(f"{stem}[.gz]" for stem in missing)
                raise not_found(name, names, raw, error) from error
    arrays = [read_idx(_find(file, folders) or folders[0] / file.stem, file) for file in spec.files]
    parts = [
        Images(pixels[:, None], labels.astype(np.int64), range(len(pixels)))
        for pixels, labels in (arrays[:2], arrays[2:])
    ]
    return Source(name, parts[0], parts[1], spec.classes)


def read_idx(path: Path, file: IdxFile) -> np.ndarray:
    """Read and verify one IDX file, gzipped if `path` ends in .gz. Return uint8 of `file.shape`.

    Raises:
        LatentlabError: wrong magic number, dimensions, length, checksum or class counts.
    """
    header = 4 + 4 * len(file.shape)
    needed = header + math.prod(file.shape)
    content = _content(path, needed)
    expected = bytes([0, 0, 8, len(file.shape)])
    if content[:4] != expected:
        raise _damaged(path, f"starts with the bytes {content[:4].hex(' ')}", expected.hex(" "))
    found = tuple(np.frombuffer(content[4:header].ljust(header - 4, b"\0"), ">u4").tolist())
    if found != file.shape:
        raise _damaged(path, f"declares the dimensions {found}", str(file.shape))
    if len(content) != needed:
        state = "is truncated: it has" if len(content) < needed else "has at least"
        raise _damaged(path, f"{state} {len(content)} bytes (decompressed)", f"{needed} bytes")
    if file.sha256 and (found_sum := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise _damaged(path, f"has the wrong checksum: content SHA-256 {found_sum}", file.sha256)
    if file.gz_md5 and path.suffix == ".gz" and (found_sum := file_md5(path)) != file.gz_md5:
        raise _damaged(path, f"has the wrong checksum: MD5 {found_sum}", file.gz_md5)
    values = np.frombuffer(content, np.uint8, offset=header).reshape(file.shape)
    if not file.sha256 and values.ndim == 1:
        counts = np.bincount(values, minlength=10)
        if len(counts) != 10 or (counts != len(values) // 10).any():
            raise _damaged(path, f"has the class counts {counts[:12].tolist()}", "ten equal counts")
    return values


def _find(file: IdxFile, folders: list[Path]) -> Path | None:
    paths = (folder / f"{file.stem}{end}" for folder in folders for end in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _content(path: Path, needed: int) -> bytes:
    """Return the decompressed bytes, at most `needed` + 1, so that a gzip bomb fills no memory."""
    if path.suffix != ".gz":
        with path.open("rb") as plain:
            return plain.read(needed + 1)
    try:
        with gzip.open(path, "rb") as packed:
            return packed.read(needed + 1)
    except EOFError as error:
        raise _damaged(path, "is truncated: its compressed data end early", "all data") from error
    except (OSError, zlib.error) as error:
        raise _damaged(path, f"cannot be decompressed ({error})", "a gzip file") from error


def _damaged(path: Path, found: str, expected: str) -> LatentlabError:
    return LatentlabError(
        f"{path} {found}; expected: {expected}. Delete the file to download it again, or put an "
        "undamaged copy in its place."
    )
