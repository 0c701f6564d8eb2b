"""A folder of images → tar shards in WebDataset's format, with a manifest.

A sample has the member `key.jpg` (or .png, …) and, with classes, `key.cls`: the class number.
The key is the percent-encoded path of the file. It is unique, ASCII, without dots, and can be
decoded to the path. The same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from latentlab.data.decoding import THREADS, preprocess_frame
from latentlab.data.files.class_names import labels_of
from latentlab.data.files.layout import read_layout
from latentlab.data.files.listing import image_names, list_folder
from latentlab.data.pixels.frames import Frames, open_frames
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.pixels.values import RawImage
from latentlab.data.problems import format_files, reason, strict_pillow
from latentlab.data.shards.manifest import Manifest, Shard
from latentlab.data.shards.tar import IMAGES, MAX_FILE_BYTES
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import fresh_folder
from latentlab.utils.names import counted

PER_SHARD = 10_000
AHEAD = 4 * THREADS  # files in memory


@dataclass(frozen=True)
class _Packed:
    """One image file for a shard, or the reason `why` it cannot be packed."""

    name: str
    ending: str = ""
    content: bytes = b""
    why: str = ""


def pack_folder(
    folder: Path,
    out: Path,
    *,
    size: int | None = None,
    per_shard: int = PER_SHARD,
    on_unreadable: str = "error",
) -> Manifest:
    """Write the images of `folder` (sub-folders are classes) as shards into the new folder `out`.

    Every file is decoded once to check that it is readable. Without `size`, files are copied byte
    for byte. With `size`, they become RGB PNG files of size × size pixels, preprocessed as in stage
    `prepare` with the default settings; files of more than 8 bits or of several frames, which need
    a setting, cannot be packed so. `per_shard` is the number of images in a shard. `out` is written
    completely, with its manifest, or not at all.

    Raises:
        LatentlabError: no images, images beside class folders, unreadable files if `on_unreadable`
            is "error", `out` exists or is inside of `folder`, `size` or `per_shard` < 1, or `out`
            cannot be written.
    """
    out = out.absolute()  # "." has no name for the temporary folder
    _check(folder, out, size, per_shard)
    found = list_folder(folder)
    problems = dict(found.refused)
    known = image_names(found.names)
    labels, classes = labels_of(read_layout(known, folder).classes)
    number = {} if labels is None else dict(zip(known, labels.tolist(), strict=True))
    try:
        with fresh_folder(out) as fresh, closing(_encode(folder, found.names, size)) as encoded:
            shards = list(_write(fresh, _good(encoded, set(known), problems), number, per_shard))
            if problems and (on_unreadable == "error" or not shards):
                count = len(problems.keys() | set(found.names))
                raise LatentlabError(
                    f"{len(problems)} of {counted(count, 'file')} in {folder} cannot be packed: "
                    f"{format_files(problems)}. Repair or remove these files"
                    + (", or use --on-unreadable skip." if shards else ".")
                )
            if not shards:
                raise LatentlabError(
                    f"{folder} contains no images. Give a folder that contains images."
                )
            manifest = Manifest(shards, classes, size, tuple(sorted(problems)))
            manifest.write(fresh)
    except OSError as error:
        raise LatentlabError(
            f"{out} cannot be written ({error}). Free space on the disk and make it writable."
        ) from error
    return manifest


def sample_key(name: str) -> str:
    """Encode a path as ASCII without dots, because a WebDataset key ends at a dot; "/" stays."""
    return quote(os.fsencode(name)).replace(".", "%2E")


def _check(folder: Path, out: Path, size: int | None, per_shard: int) -> None:
    if not folder.is_dir():
        raise LatentlabError(f"{folder} is not a folder. Give the folder of the images.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LatentlabError(f"{out} exists. Give a new folder, or remove it first.")
    if out.resolve().is_relative_to(folder.resolve()):
        raise LatentlabError(
            f"{out} is inside of the images {folder}. Give a folder outside of it."
        )
    if per_shard < 1 or (size is not None and size < 1):
        raise LatentlabError(
            f"size is {size}, per_shard is {per_shard}. Both must be 1 or more. Use 64 and 10000."
        )


def _encode(folder: Path, names: list[str], size: int | None) -> Generator[_Packed]:
    """Read and check the files in several threads. Yield them in order, with few in memory."""
    from tqdm import tqdm

    def encode(name: str) -> _Packed:
        try:
            return _packed(folder / name, name, size)
        except Exception as error:  # Pillow's plugins raise any exception for damaged files
            return _Packed(name, why=reason(error))

    waiting = iter(names)
    with (
        strict_pillow(),
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(names), desc="shard", unit="image", disable=None) as bar,
    ):
        while some := list(islice(waiting, AHEAD)):
            yield from pool.map(encode, some)
            bar.update(len(some))


def _packed(path: Path, name: str, size: int | None) -> _Packed:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        return _Packed(name, why=f"more than {MAX_FILE_BYTES} bytes")
    with open_frames(io.BytesIO(content)) as frames:
        if size is not None:
            return _scaled(name, frames, size)
        image = frames.read(0).content
        if not isinstance(image, RawImage):
            image.load()  # finds damage
        ending = frames.format.lower()
    ending = {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2"}.get(ending, ending)
    why = "" if ending in IMAGES else f"shards cannot contain {ending}"
    return _Packed(name, ending, content, why)


def _scaled(name: str, frames: Frames, size: int) -> _Packed:
    """The first frame as a PNG of size × size pixels."""
    from PIL import Image

    frame = frames.read(0)
    if frames.count > 1:
        return _Packed(name, why=f"{frames.count} frames; pack without a size")
    if frame.deep or (isinstance(frame.content, RawImage) and frame.content.bits > 8):
        return _Packed(name, why="more than 8 bits; pack without a size")
    if frame.unused_channels:
        return _Packed(name, why="a channel that is neither colour nor alpha; pack without a size")
    pixels = preprocess_frame(frame, size, 3, PixelSettings())
    target = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(target, "png")
    return _Packed(name, "png", target.getvalue())


def _good(
    packed: Iterator[_Packed], known: Collection[str], problems: dict[str, str]
) -> Iterator[_Packed]:
    """Yield the images that can be packed. Add the reasons of the others to `problems`."""
    for image in packed:
        if image.why or image.name not in known:
            problems[image.name] = image.why or "its name has no extension of an image format"
        else:
            yield image


def _write(
    folder: Path, images: Iterator[_Packed], number: dict[str, int], per_shard: int
) -> Iterator[Shard]:
    """Write the shards one after another, and compute their checksums while writing."""
    for count in range(10**6):
        some = islice(images, per_shard)
        first = next(some, None)
        if first is None:
            return
        path = folder / f"shard-{count:06d}.tar"
        with path.open("xb") as file:
            hashed = _Hashed(file)
            with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                written = sum(_add_sample(tar, image, number) for image in chain([first], some))
            yield Shard(path.name, written, hashed.length, hashed.digest.hexdigest())


def _add_sample(tar: tarfile.TarFile, image: _Packed, number: dict[str, int]) -> int:
    key = sample_key(image.name)
    _add(tar, f"{key}.{image.ending}", image.content)
    if number:
        _add(tar, f"{key}.cls", str(number[image.name]).encode())
    return 1


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without time and owner, so that the bytes are always the same
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


class _Hashed:
    """A file that computes the length and SHA-256 of its content."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.length, self.digest = file, 0, hashlib.sha256()

    def write(self, content: Any) -> int:
        self.digest.update(content)
        self.length += len(content)
        return self._file.write(content)
