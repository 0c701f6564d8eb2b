"""manifest.json of a folder of tar shards: which files there are, and how each is recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentlab.contracts import LatentlabError

MANIFEST = "manifest.json"
FORMAT = "latentlab-shards-1"


@dataclass(frozen=True)
class Shard:
    """One tar: its file name, how many images it holds, its length and checksum."""

    file: str
    images: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All shards in order. `classes[label]` is a name; None without labels.

    `size` is the side the images were scaled to, None where the files are the originals. `skipped`
    lists the files of the packed folder that could not be read.
    """

    shards: Sequence[Shard]
    classes: tuple[str, ...] | None
    size: int | None = None
    skipped: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        return sum(shard.images for shard in self.shards)

    def write(self, folder: Path) -> None:
        content = {"format": FORMAT, "images": self.num_images, **asdict(self)}
        (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, None if it has none (shards made by other tools).

    Raises:
        LatentlabError: it is damaged.
    """
    path = folder / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return _parse(told)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LatentlabError(
            f"{path} is no manifest of shards ({error!r}). Copy it anew or pack the folder again "
            "with `latentlab shard`."
        ) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(told: dict[str, Any]) -> Manifest:
    if told["format"] != FORMAT:
        raise ValueError(f"format {told['format']!r}, not {FORMAT!r}")
    classes = told["classes"]
    manifest = Manifest(
        tuple(Shard(**shard) for shard in told["shards"]),
        None if classes is None else tuple(classes),
        told["size"],
        tuple(told["skipped"]),
    )
    for shard in manifest.shards:
        if Path(shard.file).name != shard.file or not shard.file.endswith(".tar"):
            raise ValueError(f"{shard.file!r} is no plain name of a .tar")
        if not all(type(n) is int and n > 0 for n in (shard.images, shard.bytes)):
            raise ValueError(f"{shard.file}: counts that are no positive integers")
        if not isinstance(shard.sha256, str):
            raise ValueError(f"{shard.file}: a checksum that is no text")
    if manifest.size is not None and type(manifest.size) is not int:
        raise ValueError(f"size {manifest.size!r}")
    if not all(isinstance(text, str) for text in (*(classes or ()), *manifest.skipped)):
        raise ValueError("names that are no text")
    if not manifest.shards or manifest.num_images != told["images"]:
        raise ValueError(f"{manifest.num_images} images in its shards, {told['images']} in all")
    return manifest
