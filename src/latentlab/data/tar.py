"""One WebDataset shard: an uncompressed tar in which files of one key are one sample.

`cat/a.png` and `cat/a.cls` are the sample `cat/a`: the key is the path up to the first dot of the
file's name. Nothing is ever unpacked to disk; only headers are read here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import IO

IMAGES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "jp2", "avif", "ppm", "pgm")
LARGEST_FILE = 64 * 2**20  # bytes; each decoding thread holds one
LARGEST_HEADER = 2**20  # of what tarfile would read into memory: long names, extended headers
LARGEST_CLASS = 4096
BLOCK = 512


@dataclass(frozen=True)
class Sample:
    """A sample's key, where its image lies in the shard, and the text of its .cls, if any."""

    key: str
    offset: int
    size: int
    label: str | None


class DamagedTarError(Exception):
    """What is wrong with a tar, for an error that names the file."""


def read_samples(file: IO[bytes]) -> Iterator[Sample]:
    """The samples of a shard in order, one held at a time.

    Samples without an image (and without a class) are passed over, and so are hidden files.

    Raises:
        DamagedTarError: truncated, no tar, links or devices in it, names that leave the folder, two
            images or none of a key that has a class, an image of more than 64 MiB.
    """
    for key, members in groupby(_members(file), lambda member: _split(member.name)[0]):
        image, label = None, None
        for member in members:
            ending = _split(member.name)[1]
            if ending == "cls":
                label = _text(file, member)
            elif ending in IMAGES:
                if image:
                    raise DamagedTarError(f"two images of the key {key!r}")
                if member.size > LARGEST_FILE:
                    raise DamagedTarError(f"{member.name!r} has {member.size} bytes, too many")
                image = member
        if image:
            yield Sample(key, image.offset_data, image.size, label)
        elif label is not None:
            raise DamagedTarError(f"{key!r} has a class, but beside it no image")


def _members(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    size = file.seek(0, 2)
    file.seek(0)
    end = 0
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:", encoding="utf-8") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # it would keep them all
                end = member.offset_data
                if member.isdir():
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse:
                    raise DamagedTarError(f"{member.name!r} is not a regular file")
                end += -(-member.size // BLOCK) * BLOCK
                if member.size < 0 or end > size:
                    raise DamagedTarError(f"truncated in {member.name!r}")
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DamagedTarError(f"{member.name!r} leaves the folder")
                if not path.name.startswith("."):
                    yield member
    except (tarfile.TarError, OSError, ValueError, LookupError, RecursionError) as error:
        raise DamagedTarError(f"no tar that can be read: {error}") from error
    # tarfile takes a damaged header for the end
    file.seek(end)
    if file.read(BLOCK) != bytes(BLOCK):
        raise DamagedTarError(f"truncated or damaged at byte {end}: its end is not marked")


class _Headers:
    """The file as tarfile sees it: it reads headers, and none that would fill memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._read(size)


def _split(name: str) -> tuple[str, str]:
    """WebDataset's rule: `a/b.c.png` → (`a/b`, `c.png`)."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def _text(file: IO[bytes], member: tarfile.TarInfo) -> str:
    if member.size > LARGEST_CLASS:
        raise DamagedTarError(f"{member.name!r} has {member.size} bytes, too many for a class")
    here = file.tell()
    file.seek(member.offset_data)
    content = file.read(member.size)
    file.seek(here)
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise DamagedTarError(f"{member.name!r} is not UTF-8") from None
