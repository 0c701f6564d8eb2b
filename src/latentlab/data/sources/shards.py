"""Images in tar shards: shards of `latentlab shard`, with checksums, or any WebDataset tars.

All shards are verified before the first image is decoded. With a manifest, `key.cls` contains the
number of a class in the manifest. Without a manifest, the texts of the .cls files are the classes:
in numerical order if all are numbers, else in alphabetical order. Without .cls files there are no
labels.
"""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np

from latentlab.data.decoding import decode_files
from latentlab.data.files.class_names import class_notes, labels_of
from latentlab.data.files.folder_names import resembles, split_of
from latentlab.data.files.layout import read_layout
from latentlab.data.problems import format_files
from latentlab.data.settings import DataSettings
from latentlab.data.shards.manifest import MANIFEST, Manifest, Shard, file_sha256, read_manifest
from latentlab.data.shards.tar import IMAGES, DamagedTarError, read_samples
from latentlab.data.sources import Images, Source, own_place
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted, some

ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


class _Index:
    """The place of every image: about 20 bytes each, plus its name and the text of its class."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.shards, self.offsets, self.sizes = array("i"), array("q"), array("q")
        self.names: list[str] = []
        self.texts: list[str | None] = []
        self.ignored: list[str] = []  # image files that are no samples

    def add(self, path: Path, known: Shard | None) -> None:
        """Append the images of one shard. `known`: its entry in the manifest.

        Raises:
            DamagedTarError: the shard is damaged or does not match its entry.
        """
        with path.open("rb") as file:
            number, before = len(self.paths), len(self.names)
            self.paths.append(path)
            texts: dict[str | None, str | None] = {}  # one string object for each class
            for sample in read_samples(file, self.ignored):
                name = _packed_name(sample.key) if known else f"{path.name}/{sample.key}"
                self.shards.append(number)
                self.offsets.append(sample.offset)
                self.sizes.append(sample.size)
                self.names.append(name)
                self.texts.append(texts.setdefault(sample.label, sample.label))
        found = len(self.names) - before
        if known and found != known.images:
            raise DamagedTarError(f"{counted(found, 'image')}, {MANIFEST} says {known.images}")

    def read(self, row: int) -> io.BytesIO:
        """The image file of one row, in memory."""
        with self.paths[self.shards[row]].open("rb") as file:
            return io.BytesIO(os.pread(file.fileno(), self.sizes[row], self.offsets[row]))


def load(settings: DataSettings, root: Path) -> Source:
    """Read all shards of `settings.folder` with settings.size and settings.channels (None: 3).

    The decoded images are in a temporary file in data/, which is removed with the returned source.
    Shards that are links out of the folder are refused.

    Raises:
        LatentlabError: no shards; shards that are missing, damaged, changed or not in the manifest;
            images without a class beside images with a class; images that cannot be read if
            on_unreadable is "error".
    """
    folder = own_place(root, settings.folder)
    manifest = read_manifest(folder)
    index = _index(folder, manifest)
    decoded = decode_files(index.names, index.read, settings, root / "data")
    problems = decoded.problems
    if (problems and settings.on_unreadable == "error") or not decoded.names:
        raise LatentlabError(
            f"{len(problems)} of {counted(len(index.names), 'image')} in the shards of {folder}"
            f" cannot be read: {format_files(problems)}. Pack the shards without these images, or"
            " set data.on_unreadable to skip."
        )
    texts = [index.texts[row] for row in decoded.rows]
    labels, classes = _labels(texts, manifest, folder)
    if manifest:
        splits = read_layout(decoded.files, folder).splits
    else:
        splits = _splits_of_names(decoded.files, folder)
    notes = _notes(index, decoded.files, splits, classes, is_packed=manifest is not None)
    if classes and labels is not None:
        notes += class_notes([classes[label] for label in labels.tolist()], splits, folder)
    images = Images(
        decoded.pixels,
        labels,
        decoded.names,
        splits=splits,
        files=decoded.files,
        infos=decoded.infos,
    )
    skipped = manifest.skipped if manifest else ()
    unreadable = tuple(sorted({*skipped, *problems}))
    return Source("shards", images, None, classes, unreadable, tuple(notes), decoded.whites)


def _splits_of_names(names: Sequence[str], folder: Path) -> list[str] | None:
    """The splits in the names of shards such as `train-000.tar`, or in folders of their samples.

    Raises:
        LatentlabError: some shards have the name of a split, and others have none.
    """
    shards = sorted({name.partition("/")[0] for name in names})
    alike = {shard: resembles(shard.removesuffix(".tar")) for shard in shards}
    if len(set(alike.values()) - {None}) > 1:
        exact = {shard: resembles(shard.removesuffix(".tar"), exactly=True) for shard in shards}
        if None in exact.values() or "train" not in exact.values():
            raise LatentlabError(
                f"{folder} contains {some(shards)}. Some of these names are of splits, but not all,"
                " or none is of train. Name all shards by their split, such as train-000.tar,"
                " val-000.tar and test-000.tar, or none of them; or move some away."
            )
        return [str(exact[name.partition("/")[0]]) for name in names]
    tops = {_top(name): split_of(_top(name)) for name in names}
    found = set(tops.values())
    if None not in found and "train" in found and len(found) > 1:
        return [str(tops[_top(name)]) for name in names]
    return None


def _top(name: str) -> str:
    """The first folder inside of the shard; "" for a sample that is in no folder."""
    return name.split("/")[1] if name.count("/") > 1 else ""


def _notes(
    index: _Index,
    names: Sequence[str],
    splits: Sequence[str] | None,
    classes: Sequence[str] | None,
    *,
    is_packed: bool,
) -> list[str]:
    notes = []
    if count := len(index.ignored):
        notes.append(f"not used: {counted(count, 'image file')} in the shards: {_ignored(index)}")
    if splits:
        given = sorted(set(splits), key=("train", "val", "test").index)
        notes.append(f"the names of {', '.join(given)} are the splits")
    folders = sorted({_top(name) for name in names} - {""})
    if not is_packed and classes is None and len(folders) > 1 and not splits:
        notes.append(
            f"samples are in the folders {some(folders)}, which are no classes: only .cls files are"
        )
    if classes is None and None not in index.texts:
        notes.append("all .cls files have the same class, so there are no classes")
    return notes


def _ignored(index: _Index) -> str:
    return (
        f"{some(index.ignored)}. The name of an image is a key without dots and one of"
        f" {', '.join('.' + ending for ending in IMAGES)}"
    )


def _index(folder: Path, manifest: Manifest | None) -> _Index:
    """Verify every shard. One error lists all damaged shards."""
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
            f"{len(problems)} of {counted(len(shards), 'shard')} in {folder} cannot be used: "
            f"{format_files(problems)}. Copy these shards again from their source, or pack the "
            "images again with `latentlab shard`."
        )
    if not index.names:
        ignored = f" These are not read: {_ignored(index)}." if index.ignored else ""
        raise LatentlabError(
            f"{folder} contains no images in .tar files.{ignored} Make shards with `latentlab shard"
            f" IMAGES {folder}`, or set data.folder."
        )
    return index


def _shards(folder: Path, manifest: Manifest | None) -> Iterator[tuple[Path, Shard | None]]:
    """Yield the path of every shard and its entry in the manifest; None without a manifest."""
    found = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
    if manifest is None:
        _refuse_others(folder)
        yield from ((path, None) for path in found)
        return
    yield from ((folder / shard.file, shard) for shard in manifest.shards)
    known = {shard.file for shard in manifest.shards}
    if unknown := {path.name: "" for path in found if path.name not in known}:
        raise LatentlabError(
            f"{folder} contains shards that {MANIFEST} does not list: {format_files(unknown)}. "
            "Move them away, or pack all images again with `latentlab shard`."
        )


def _refuse_others(folder: Path) -> None:
    """Raise LatentlabError for shards in sub-folders, and for compressed ones."""
    paths = (path for path in folder.rglob("*") if path.name.lower().endswith(ARCHIVES))
    others = sorted(
        str(path.relative_to(folder))
        for path in paths
        if (path.parent != folder or path.suffix != ".tar") and not path.name.startswith(".")
    )
    if others:
        raise LatentlabError(
            f"{folder} contains shards that cannot be read: {some(others)}. Only .tar files"
            " directly in the folder are read. Move them there, and expand compressed ones; names"
            " such as train-000.tar and test-000.tar are splits. Or move them away."
        )


def _verify(path: Path, known: Shard | None, folder: Path) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DamagedTarError("a link that leaves the folder")
    if not path.is_file():  # reading a pipe would never end
        raise DamagedTarError("not a regular file" if path.exists() else "missing")
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
    """Return labels int64 (N,) and class names; (None, None) for fewer than two classes."""
    found = set(texts)
    if None in found and len(found) > 1:
        raise LatentlabError(
            f"{texts.count(None)} of {len(texts)} images in the shards of {folder} have no .cls "
            "file. Either all images need a class or none. Add the missing .cls files."
        )
    present = [text for text in found if text is not None]
    if len(present) < 2:
        return None, None
    labels, classes = labels_of([text or "" for text in texts])
    if manifest is None or classes is None:
        return labels, classes
    numbered = all(text.isdecimal() and text.isascii() and len(text) < 15 for text in present)
    names = dict(enumerate(manifest.classes or ()))
    if not numbered or any(int(text) not in names for text in present):
        raise LatentlabError(
            f"The shards of {folder} contain classes that {MANIFEST} does not list. Pack the "
            "images again with `latentlab shard`."
        )
    return labels, tuple(names[int(text)] for text in classes)


def _packed_name(key: str) -> str:
    """Return the path of the packed file: the inverse of shards.write.sample_key."""
    return os.fsdecode(unquote_to_bytes(key))
