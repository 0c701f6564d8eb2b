"""Images in tar shards: those of `latentlab shard`, known by checksum, or any WebDataset tars.

All shards are verified before the first image is decoded. With a manifest, `key.cls` holds the
number of a class that it names. Without one, the texts of the .cls files are the classes, in order
of number where all are numbers, else of the alphabet; without .cls files there are no labels.
"""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np

from latentlab.contracts import LatentlabError
from latentlab.data.decode import decode_images, listed
from latentlab.data.manifest import MANIFEST, Manifest, Shard, file_sha256, read_manifest
from latentlab.data.rows import scratch_rows
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.data.tar import DamagedTarError, read_samples


class _Index:
    """Where every image lies, at about 20 bytes each beside its name and its class's text."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.shards, self.offsets, self.sizes = array("i"), array("q"), array("q")
        self.names: list[str] = []
        self.texts: list[str | None] = []

    def add(self, path: Path, known: Shard | None) -> None:
        """Append the images of one shard; DamagedTarError if it is not whole or not `known`."""
        with path.open("rb") as file:
            number, before = len(self.paths), len(self.names)
            self.paths.append(path)
            texts: dict[str | None, str | None] = {}  # one object for each text
            for sample in read_samples(file):
                name = _packed_name(sample.key) if known else f"{path.name}/{sample.key}"
                self.shards.append(number)
                self.offsets.append(sample.offset)
                self.sizes.append(sample.size)
                self.names.append(name)
                self.texts.append(texts.setdefault(sample.label, sample.label))
        found = len(self.names) - before
        if known and found != known.images:
            raise DamagedTarError(f"{found} images, {MANIFEST} says {known.images}")

    def read(self, row: int) -> io.BytesIO:
        """The image file of one row, in memory."""
        with self.paths[self.shards[row]].open("rb") as file:
            return io.BytesIO(os.pread(file.fileno(), self.sizes[row], self.offsets[row]))


def load_shards(folder: Path, settings: DataSettings, *, scratch: Path) -> Source:
    """Read all shards of `folder` at settings.size and settings.channels (None: 3).

    The decoded images rest in an unnamed temporary file in `scratch`. Shards that are links out of
    the folder are refused, as an image folder's are.

    Raises:
        LatentlabError: no shards; shards that are absent, damaged, changed or not in the manifest,
            by name; only some images with a class; images that cannot be read while on_unreadable
            is "stop".
    """
    assert settings.size is not None  # DataSettings saw to it
    manifest = read_manifest(folder)
    index = _index(folder, manifest)
    shape = (len(index.names), settings.channels or 3, settings.size, settings.size)
    pixels = scratch_rows(shape, scratch)
    problems = decode_images(index.read, pixels)
    told = {index.names[row]: why for row, why in problems.items()}
    if (problems and settings.on_unreadable == "stop") or len(problems) == len(index.names):
        raise LatentlabError(
            f"{len(problems)} of {len(index.names)} images in the shards of {folder} cannot be "
            f"read: {listed(told)}. Pack them without these, or set data.on_unreadable to skip."
        )
    kept = [row for row in range(len(index.names)) if row not in problems]
    for new, old in enumerate(kept):  # close the gaps
        if new != old:
            pixels[new] = pixels[old]
    labels, classes = _labels([index.texts[row] for row in kept], manifest, folder)
    names = [index.names[row] for row in kept]
    images = Images(pixels.first(len(kept)), labels, names)
    skipped = manifest.skipped if manifest else ()
    return Source("shards", images, None, classes, tuple(sorted({*skipped, *told})))


def _index(folder: Path, manifest: Manifest | None) -> _Index:
    """Verify every shard; one error names all that are wrong."""
    from tqdm import tqdm

    index, problems = _Index(), {}
    shards = list(_shards(folder, manifest))
    for path, known in tqdm(shards, "verify", unit="shard", delay=1, disable=None):
        try:
            _verify(path, known, folder)
            index.add(path, known)
        except DamagedTarError as error:
            problems[path.name] = str(error)
        except OSError as error:
            problems[path.name] = error.strerror or str(error)
    if problems:
        raise LatentlabError(
            f"{len(problems)} of {len(shards)} shards in {folder} cannot be used: "
            f"{listed(problems)}. Copy them anew from where they were made, or pack the images "
            "again with `latentlab shard`."
        )
    if not index.names:
        raise LatentlabError(
            f"{folder} holds no images in .tar files; make shards with `latentlab shard IMAGES "
            f"{folder}`, or set data.folder."
        )
    return index


def _shards(folder: Path, manifest: Manifest | None) -> Iterator[tuple[Path, Shard | None]]:
    """Every shard's path and what the manifest says of it: None if it says nothing."""
    found = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
    if manifest is None:
        yield from ((path, None) for path in found)
        return
    yield from ((folder / shard.file, shard) for shard in manifest.shards)
    known = {shard.file for shard in manifest.shards}
    if strange := {path.name: "" for path in found if path.name not in known}:
        raise LatentlabError(
            f"{folder} holds shards that {MANIFEST} does not list: {listed(strange)}. Move them "
            "away, or pack all images again with `latentlab shard`."
        )


def _verify(path: Path, known: Shard | None, folder: Path) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DamagedTarError("a link that leaves the folder")
    if not path.is_file():  # a pipe would block for ever
        raise DamagedTarError("a file of another kind" if path.exists() else "absent")
    if known is None:
        return
    if (size := path.stat().st_size) != known.bytes:
        state = "truncated: it has" if size < known.bytes else "too long: it has"
        raise DamagedTarError(f"{state} {size} bytes, {MANIFEST} says {known.bytes}")
    if (found := file_sha256(path)) != known.sha256:
        raise DamagedTarError(f"corrupt: its SHA-256 is {found}, {MANIFEST} says {known.sha256}")


def _labels(
    texts: Sequence[str | None], manifest: Manifest | None, folder: Path
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """int64 labels (N,) and class names; None for fewer than two classes."""
    found = set(texts)
    if None in found and len(found) > 1:
        raise LatentlabError(
            f"{texts.count(None)} of {len(texts)} images in the shards of {folder} have no .cls "
            "beside them; give all a class, or none."
        )
    present = [text for text in found if text is not None]
    if len(present) < 2:
        return None, None
    numbered = all(text.isdecimal() and text.isascii() and len(text) < 19 for text in present)
    present.sort(key=(lambda text: (int(text), text)) if numbered else None)
    number = {text: label for label, text in enumerate(present)}
    labels = np.array([number[text or ""] for text in texts], np.int64)
    if manifest is None:
        return labels, tuple(present)
    names = dict(enumerate(manifest.classes or ()))
    if not numbered or any(int(text) not in names for text in present):
        raise LatentlabError(
            f"the shards of {folder} hold classes that {MANIFEST} does not name; pack the images "
            "again with `latentlab shard`."
        )
    return labels, tuple(names[int(text)] for text in present)


def _packed_name(key: str) -> str:
    """The path of the packed file, as `pack.sample_key` wrote it."""
    return os.fsdecode(unquote_to_bytes(key))
