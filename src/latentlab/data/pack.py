"""A folder of images → tar shards in WebDataset's format, with a manifest.

A sample is two members: `key.jpg` (or .png, …) and, with classes, `key.cls`, the class's number.
The key is the file's path, percent-encoded so that it is ASCII and holds no dot: unique, readable
by every tar, and the path can be had back. The same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from latentlab.contracts import LatentlabError
from latentlab.data.decode import THREADS, listed, reason, strict_pillow
from latentlab.data.manifest import Manifest, Shard
from latentlab.data.pixels import fit_image
from latentlab.data.sources.folder import folder_classes, list_images, refuse_mixture
from latentlab.data.tar import IMAGES, LARGEST_FILE
from latentlab.files import fresh_folder

PER_SHARD = 10_000
AHEAD = 4 * THREADS  # files held in memory


@dataclass(frozen=True)
class _Packed:
    """One image as it goes into a shard, or why it cannot."""

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
    on_unreadable: str = "stop",
) -> Manifest:
    """Write the images of `folder` (sub-folders are classes) as shards into the new folder `out`.

    Every file is decoded once, so what is packed can be read. Without `size` the files go in byte
    for byte; with it, as RGB PNG of size × size, scaled and cropped as prepare would. `out` appears
    whole, with its manifest, or not at all.

    Raises:
        LatentlabError: no images, images beside class folders, unreadable files while
            `on_unreadable` is "stop", an `out` that is there already or lies in `folder`, numbers
            < 1, or nothing can be written.
    """
    out = out.absolute()  # "." has no name that a fresh folder could take
    _check(folder, out, size, per_shard)
    names, refused = list_images(folder)
    refuse_mixture(folder, names)
    problems = dict(refused)
    _, classes = folder_classes(names)
    number = {name: label for label, name in enumerate(classes or ())}
    try:
        with fresh_folder(out) as fresh, closing(_encode(folder, names, size)) as encoded:
            shards = list(_write(fresh, _good(encoded, problems), number, per_shard))
            if problems and (on_unreadable == "stop" or not shards):
                raise LatentlabError(
                    f"{len(problems)} of {len(problems.keys() | set(names))} files in {folder} "
                    f"cannot be packed: {listed(problems)}. Repair or remove them, or use "
                    "--on-unreadable skip."
                )
            if not shards:
                raise LatentlabError(f"{folder} holds no images; name a folder that does.")
            manifest = Manifest(shards, classes, size, tuple(sorted(problems)))
            manifest.write(fresh)
    except OSError as error:
        raise LatentlabError(
            f"{out} cannot be written ({error}); make room there and make it writable."
        ) from error
    return manifest


def sample_key(name: str) -> str:
    """A path as ASCII without dots, which WebDataset would cut at; "/" stays."""
    return quote(os.fsencode(name)).replace(".", "%2E")


def _check(folder: Path, out: Path, size: int | None, per_shard: int) -> None:
    if not folder.is_dir():
        raise LatentlabError(f"{folder} is not a folder; name the folder that holds the images.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LatentlabError(f"{out} is there already; name a new folder, or remove it first.")
    if out.resolve().is_relative_to(folder.resolve()):
        raise LatentlabError(f"{out} lies in {folder}, the images; name a folder outside of it.")
    if per_shard < 1 or (size is not None and size < 1):
        raise LatentlabError(f"size {size}, per shard {per_shard}: both must be 1 or more.")


def _encode(folder: Path, names: list[str], size: int | None) -> Generator[_Packed]:
    """Read and check the files in a few threads, in order, a few held at a time."""
    from tqdm import tqdm

    def encode(name: str) -> _Packed:
        try:
            return _packed(folder / name, name, size)
        except Exception as error:  # Pillow's plugins raise what they like on damaged files
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
    from PIL import Image

    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        return _Packed(name, why=f"more than {LARGEST_FILE} bytes")
    with Image.open(io.BytesIO(content)) as image:
        ending = (image.format or "").lower()
        pixels = fit_image(image, size or 1, 3)  # decodes all of it
    if size is None:
        ending = {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2"}.get(ending, ending)
        why = "" if ending in IMAGES else f"{ending} has no place in a shard"
        return _Packed(name, ending, content, why)
    target = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(target, "png")
    return _Packed(name, "png", target.getvalue())


def _good(packed: Iterator[_Packed], problems: dict[str, str]) -> Iterator[_Packed]:
    """Those that can be packed; the reasons of the others go into `problems`."""
    for image in packed:
        if image.why:
            problems[image.name] = image.why
        else:
            yield image


def _write(
    folder: Path, images: Iterator[_Packed], number: dict[str, int], per_shard: int
) -> Iterator[Shard]:
    """Write shard after shard, each hashed on its way to the disk."""
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
        top = image.name.split("/")[0] if "/" in image.name else ""
        _add(tar, f"{key}.cls", str(number[top]).encode())
    return 1


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner: the same bytes every time
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


class _Hashed:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.length, self.digest = file, 0, hashlib.sha256()

    def write(self, content: Any) -> int:
        self.digest.update(content)
        self.length += len(content)
        return self._file.write(content)
