"""manifest.json of a folder of tar shards: the files and their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted

MANIFEST = "manifest.json"
FORMAT = "latentlab-shards-1"


@dataclass(frozen=True)
class Shard:
    """One tar file: its name, number of images, length in bytes and SHA-256."""

    file: str
    images: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        shards: all shards, in order.
        classes: classes[label] is the name of a class; None without labels.
        size: height and width of the scaled images in pixels; None for the original files.
        skipped: files of the packed folder that could not be read.
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
    """Read the manifest of a folder; None if there is none (shards of other tools).

    Raises:
        LatentlabError: the manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LatentlabError(
            f"{path} is not a manifest of shards ({error!r}). Copy it again, or pack the images "
            "again with `latentlab shard`."
        ) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(content: dict[str, Any]) -> Manifest:
    """Validate parsed JSON. Raise KeyError, TypeError or ValueError if it is not valid."""
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r} instead of {FORMAT!r}")
    classes = content["classes"]
    manifest = Manifest(
        tuple(Shard(**shard) for shard in content["shards"]),
        None if classes is None else tuple(classes),
        content["size"],
        tuple(content["skipped"]),
    )
    for shard in manifest.shards:
        if Path(shard.file).name != shard.file or not shard.file.endswith(".tar"):
            raise ValueError(f"{shard.file!r} is not a plain file name of a .tar")
        if not all(type(n) is int and n > 0 for n in (shard.images, shard.bytes)):
            raise ValueError(f"{shard.file}: counts are not positive integers")
        if not isinstance(shard.sha256, str):
            raise ValueError(f"{shard.file}: the checksum is not text")
    if manifest.size is not None and type(manifest.size) is not int:
        raise ValueError(f"size {manifest.size!r} is not an integer")
    if not all(isinstance(text, str) for text in (*(classes or ()), *manifest.skipped)):
        raise ValueError("names are not text")
    if not manifest.shards or manifest.num_images != content["images"]:
        raise ValueError(
            f"{counted(manifest.num_images, 'image')} in the shards, but"
            f" {content['images']} in total"
        )
    return manifest
