"""One WebDataset shard: an uncompressed tar in which files with the same key are one sample.

`cat/a.png` and `cat/a.cls` are the sample `cat/a`. The key is the path up to the first dot of the
file name. Only headers and classes are read here. Nothing is unpacked to disk.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import IO

# of images that cannot be in a shard, or that no decoder here reads
OTHER_IMAGES = ("fits", "heic", "heif", "jxl", "npy", "npz", "dcm", "tga", "jpe", "j2k")
IMAGES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "jp2", "avif", "ppm", "pgm")
MAX_FILE_BYTES = 64 * 2**20  # each decoding thread has one file in memory
MAX_HEADER_BYTES = 2**20  # long names and extended headers, which tarfile reads into memory
MAX_CLASS_BYTES = 4096
BLOCK = 512


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        key: its key.
        offset: first byte of the image in the shard.
        size: length of the image in bytes.
        label: the text of its .cls file; None if there is none.
    """

    key: str
    offset: int
    size: int
    label: str | None


class DamagedTarError(Exception):
    """A fault of a tar. The caller adds the name of the file."""


def read_samples(file: IO[bytes], ignored: list[str] | None = None) -> Iterator[Sample]:
    """Yield the samples of a shard in order.

    Samples with neither image nor class, and hidden files, are ignored. The names of those that
    look like images, such as `a.left.png`, are appended to `ignored`.

    Raises:
        DamagedTarError: the file is truncated or not a tar; it contains links, devices, names that
            leave the folder, two images of one key, a class without an image, or an image of more
            than 64 MiB.
    """
    for key, members in groupby(tar_members(file), lambda member: _split(member.name)[0]):
        image, label = None, None
        for member in members:
            ending = _split(member.name)[1]
            if ending == "cls":
                label = _text(file, member)
            elif ending in IMAGES:
                if image:
                    raise DamagedTarError(f"two images have the key {key!r}")
                if member.size > MAX_FILE_BYTES:
                    raise DamagedTarError(
                        f"{member.name!r} has {member.size} bytes, more than {MAX_FILE_BYTES}"
                    )
                image = member
            elif ending.rpartition(".")[2] in (*IMAGES, *OTHER_IMAGES) and ignored is not None:
                ignored.append(member.name)
        if image:
            yield Sample(key, image.offset_data, image.size, label)
        elif label is not None:
            raise DamagedTarError(f"{key!r} has a class but no image")


def tar_members(file: IO[bytes], links: list[str] | None = None) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of a tar, without hidden files. Raise DamagedTarError.

    The names of symbolic and hard links are appended to `links`; None: a link is an error.
    """
    size = file.seek(0, 2)
    file.seek(0)
    end = 0
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:", encoding="utf-8") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # tarfile keeps all members in memory
                end = member.offset_data
                if member.isdir():
                    continue
                if links is not None and (member.issym() or member.islnk()):
                    links.append(member.name)
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse:
                    raise DamagedTarError(f"{member.name!r} is not a regular file")
                end += -(-member.size // BLOCK) * BLOCK
                if member.size < 0 or end > size:
                    raise DamagedTarError(f"truncated at {member.name!r}")
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DamagedTarError(f"{member.name!r} leaves the folder")
                if not path.name.startswith("."):
                    yield member
    except (tarfile.TarError, OSError, ValueError, LookupError, RecursionError) as error:
        raise DamagedTarError(f"not a readable tar: {error}") from error
    # tarfile treats a damaged header as the end of the tar, so check the end mark
    file.seek(end)
    if file.read(BLOCK) != bytes(BLOCK):
        raise DamagedTarError(f"truncated or damaged at byte {end}: the end mark is missing")


class _Headers:
    """A file for tarfile that refuses to read a header of more than `MAX_HEADER_BYTES`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._read(size)


def _split(name: str) -> tuple[str, str]:
    """Split a name into key and extension, by WebDataset's rule: `a/b.c.png` → `a/b`, `c.png`."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def _text(file: IO[bytes], member: tarfile.TarInfo) -> str:
    if member.size > MAX_CLASS_BYTES:
        raise DamagedTarError(
            f"{member.name!r} has {member.size} bytes, more than {MAX_CLASS_BYTES}"
        )
    here = file.tell()
    file.seek(member.offset_data)
    content = file.read(member.size)
    file.seek(here)
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise DamagedTarError(f"{member.name!r} is not UTF-8") from None
