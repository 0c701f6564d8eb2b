"""A zip or a tar of images, read like the folder inside of it. Nothing is unpacked as files.

A compressed tar is expanded into an unnamed file, which no process leaves behind.
Limits: 64 MiB for one file, and 100 times the size of the archive, plus 1 GiB, for all.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from latentlab.data.files.listing import ImageFiles, is_junk
from latentlab.data.shards.tar import MAX_FILE_BYTES, DamagedTarError, tar_members
from latentlab.utils.errors import LatentlabError

MAX_RATIO, MAX_EXTRA = 100, 2**30
CHUNK = 2**20
COMPRESSED: dict[bytes, Callable[..., Any]] = {  # first bytes → how to open
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
FAULTS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, DamagedTarError),
)


def open_archive(path: Path, scratch: Path) -> ImageFiles:
    """List the files of a zip or a tar (also .gz, .bz2, .xz). `scratch`: for a compressed tar.

    Raises:
        LatentlabError: no archive, a damaged or truncated one, or one that expands too far.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
        if start.startswith(b"PK"):
            return _open_zip(path)
        for magic, opener in COMPRESSED.items():
            if start.startswith(magic):
                return _open_tar(path, _expand(path, opener, scratch))
        return _open_tar(path, os.open(path, os.O_RDONLY))
    except FAULTS as error:
        raise LatentlabError(
            f"{path} is no folder, and cannot be read as an archive: {_text(error)}. Allowed are"
            " folders of images, .zip, .tar, .tar.gz, .tar.bz2 and .tar.xz. Copy the archive again"
            " from its source, or unpack it and set data.folder to the folder."
        ) from error


def _open_zip(path: Path) -> ImageFiles:
    archive = zipfile.ZipFile(path)
    members: dict[str, zipfile.ZipInfo] = {}
    refused: dict[str, str] = {}
    _refuse_bomb(path, sum(info.file_size for info in archive.infolist()))
    for info in archive.infolist():
        name = str(PurePosixPath(info.filename.replace("\\", "/")))
        if info.is_dir() or _is_junk(name):
            continue
        if reason := _problem(name, info.file_size) or _zip_problem(info):
            refused[name] = reason
        elif name in members:
            refused[name] = "two files of this name are in the archive"
        else:
            members[name] = info
    members = {name: info for name, info in members.items() if name not in refused}
    return ImageFiles(path, sorted(members), refused, lambda name: _content(archive, members[name]))


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> io.BytesIO:
    with archive.open(info) as member:  # reads no more than info.file_size; checks the CRC at last
        return io.BytesIO(member.read())


def _zip_problem(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    return "a link" if stat.S_ISLNK(info.external_attr >> 16) else ""


def _open_tar(path: Path, handle: int) -> ImageFiles:
    """List a tar that is not compressed. `handle`: an open descriptor, closed with the result."""
    places: dict[str, tuple[int, int]] = {}
    refused: dict[str, str] = {}

    def read(name: str) -> io.BytesIO:
        offset, size = places[name]
        return io.BytesIO(os.pread(handle, size, offset))

    weakref.finalize(read, os.close, handle)
    links: list[str] = []
    with open(handle, "rb", closefd=False) as file:
        for member in tar_members(file, links):
            name = str(PurePosixPath(member.name))
            if _is_junk(name):
                continue
            if reason := _problem(name, member.size):
                refused[name] = reason
            else:
                places[name] = member.offset_data, member.size
    names = (str(PurePosixPath(link)) for link in links)
    refused |= {name: "a link" for name in names if not _is_junk(name)}
    return ImageFiles(path, sorted(places), refused, read)


def _expand(path: Path, opener: Callable[..., Any], scratch: Path) -> int:
    """Decompress into an unnamed file of `scratch`. Return its descriptor."""
    scratch.mkdir(parents=True, exist_ok=True)
    limit = MAX_RATIO * path.stat().st_size + MAX_EXTRA
    with _disk_reported(scratch), tempfile.TemporaryFile(dir=scratch) as target:
        with opener(path, "rb") as source:
            while chunk := source.read(CHUNK):
                target.write(chunk)
                _refuse_bomb(path, target.tell(), limit)
        target.flush()
        return os.dup(target.fileno())


@contextmanager
def _disk_reported(scratch: Path) -> Iterator[None]:
    """A full disk is not a fault of the archive."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # gzip.BadGzipFile and other faults of the content
            raise
        raise LatentlabError(
            f"{scratch} has no space for the expanded archive ({error}). Free space on the disk, or"
            " unpack the archive and set data.folder to the folder."
        ) from error


def _refuse_bomb(path: Path, expanded: int, limit: int | None = None) -> None:
    limit = MAX_RATIO * path.stat().st_size + MAX_EXTRA if limit is None else limit
    if expanded > limit:
        raise LatentlabError(
            f"{path} expands to more than {limit / 1e9:.1f} GB, over {MAX_RATIO} times its size:"
            " images do not do that. If it is right, unpack it and set data.folder to the folder."
        )


def _problem(name: str, size: int) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        return "a path that leaves the archive"
    return f"more than {MAX_FILE_BYTES // 2**20} MiB" if size > MAX_FILE_BYTES else ""


def _is_junk(name: str) -> bool:
    parts = [part for part in PurePosixPath(name).parts if part not in ("..", "/")]
    return any(map(is_junk, parts))


def _text(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
