"""The prepared folder: what stage `prepare` writes once and every later stage reads.

{train,val,test}_images.npy uint8 (N, C, H, W) and, with labels, …_labels.npy int64 (N,); split.csv
says where each row came from; meta.json says what the set is. The folder appears whole or not at
all, and the same images, settings and seed give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from latentlab.contracts import ImageShape, LatentlabError, Split
from latentlab.data.arrays import load_array, unusable
from latentlab.data.limits import fits_memory
from latentlab.data.pixels import fit_pixels
from latentlab.data.rows import ImageRows
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.data.splits import SPLITS, draw_splits
from latentlab.files import fresh_folder

CHUNK_BYTES = 32 * 2**20  # of images held in memory while writing


@dataclass(frozen=True)
class Meta:
    """What meta.json says.

    Attributes:
        name: the data set, as in DataSettings.name.
        image_shape: (C, H, W) of every image.
        classes: classes[label] is a class's name; None without labels.
        counts: images in "train", "val" and "test".
        unreadable: the files that were skipped, relative to the image folder.
        seed: what the split was drawn from.
        sha256: over all arrays, in the order train, val, test.
    """

    name: str
    image_shape: ImageShape
    classes: tuple[str, ...] | None
    counts: Mapping[str, int]
    unreadable: tuple[str, ...]
    seed: int
    sha256: str

    @property
    def num_classes(self) -> int:
        """K; 0 without labels."""
        return len(self.classes or ())

    @property
    def facts(self) -> dict[str, ImageShape | int]:
        """What a model's constructor may ask of the data, by the names of its arguments."""
        return {"image_shape": self.image_shape, "num_classes": self.num_classes}


def write_prepared(source: Source, settings: DataSettings, seed: int, folder: Path) -> Meta:
    """Split `source` by `seed`, bring it to the settings' size and channels, write `folder`.

    An official test split stays the test split. Every part is in random order. split.csv's column
    `source` is a path relative to the image folder, or the row in the source's own arrays (for
    official test images: in its test arrays).

    Raises:
        LatentlabError: too few images for three parts, or the folder cannot be written.
    """
    parts = _deal(source, settings, seed)
    with fresh_folder(folder) as fresh:
        return _fill(fresh, source, parts, settings, seed)


def read_meta(folder: Path) -> Meta:
    """Read meta.json of a prepared folder.

    Raises:
        LatentlabError: absent, incomplete, or holding what no prepared folder says.
    """
    try:
        told = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return _parse_meta(told)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise unusable(folder, f"meta.json cannot be read ({error!r})") from error


def read_split(folder: Path, split: str, mmap: bool | None = None) -> Split:
    """Read one part. `mmap`: its images stay on disk (read-only) and are paged in when used.

    By default that is so for images that take more than a quarter of the memory.

    Raises:
        LatentlabError: an unknown split name; an absent or incomplete folder.
    """
    if split not in SPLITS:
        raise LatentlabError(f"{split!r} is no split; choose one of: {', '.join(SPLITS)}.")
    meta = read_meta(folder)
    shape = (meta.counts[split], *meta.image_shape)
    mmap = not fits_memory(math.prod(shape)) if mmap is None else mmap
    images = load_array(folder / f"{split}_images.npy", np.uint8, shape, mmap=mmap)
    return Split(images, read_labels(folder, split, meta))


def _parse_meta(told: Any) -> Meta:
    """What read JSON says, checked; KeyError, TypeError or ValueError where it is not a meta."""
    if not isinstance(told, dict):
        raise TypeError(f"{type(told).__name__} where an object is needed")
    channels, height, width = shape = told.pop("image_shape")
    counts, classes = told.pop("counts"), told.pop("classes")
    numbers = [*shape, *(counts[name] for name in SPLITS)]
    if not all(type(number) is int and number > 0 for number in numbers) or len(counts) != 3:
        raise ValueError(f"image_shape {shape} and counts {counts} are not positive integers")
    texts = [told["name"], told["sha256"], *(classes or ()), *told["unreadable"]]
    if not all(isinstance(text, str) for text in texts) or type(told["seed"]) is not int:
        raise ValueError("names are not text, or the seed is no integer")
    return Meta(
        image_shape=(channels, height, width),
        classes=None if classes is None else tuple(classes),
        counts=counts,
        unreadable=tuple(told.pop("unreadable")),
        **told,
    )


def read_labels(folder: Path, split: str, meta: Meta) -> torch.Tensor | None:
    """int64 (N,), or None for data without labels; raises LatentlabError as `read_split` does."""
    if meta.classes is None:
        return None
    path = folder / f"{split}_labels.npy"
    return load_array(path, np.int64, (meta.counts[split],), mmap=False)


def _deal(
    source: Source, settings: DataSettings, seed: int
) -> dict[str, tuple[Images, np.ndarray]]:
    generator = torch.Generator().manual_seed(seed)
    indices = draw_splits(
        len(source.train.pixels),
        source.train.labels,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction if source.test is None else None,
        generator=generator,
    )
    parts = {name: (source.train, rows) for name, rows in indices.items()}
    if source.test is not None:
        rows = torch.randperm(len(source.test.pixels), generator=generator).numpy()
        parts["test"] = (source.test, rows)
    return {name: parts[name] for name in SPLITS}


def _fill(
    folder: Path,
    source: Source,
    parts: dict[str, tuple[Images, np.ndarray]],
    settings: DataSettings,
    seed: int,
) -> Meta:
    digest = hashlib.sha256()
    shapes = []
    with (folder / "split.csv").open(
        "w", encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("split", "source", "label"))
        for name, (images, rows) in parts.items():
            with (folder / f"{name}_images.npy").open("wb") as array:
                shapes.append(_write_images(array, images.pixels, rows, settings, digest))
            labels = None if images.labels is None else images.labels[rows]
            if labels is not None:
                digest.update(labels.tobytes())
                np.save(folder / f"{name}_labels.npy", labels, allow_pickle=False)
            listed = repeat("") if labels is None else labels
            origin = (images.names[row] for row in rows)
            table.writerows(zip(repeat(name), origin, listed, strict=False))
    meta = Meta(
        name=source.name,
        image_shape=shapes[0],
        classes=source.classes,
        counts={name: len(rows) for name, (_, rows) in parts.items()},
        unreadable=source.unreadable,
        seed=seed,
        sha256=digest.hexdigest(),
    )
    (folder / "meta.json").write_text(json.dumps(asdict(meta), indent=2) + "\n", encoding="utf-8")
    return meta


def _write_images(
    file: IO[bytes],
    pixels: np.ndarray | ImageRows,
    rows: np.ndarray,
    settings: DataSettings,
    digest: hashlib._Hash,
) -> ImageShape:
    """Write pixels[rows], resized, chunk by chunk: a full disk is an OSError, not a bus error."""
    from tqdm import tqdm

    channels, height, width = fit_pixels(pixels[:1], settings.size, settings.channels).shape[1:]
    shape = (len(rows), channels, height, width)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    digest.update(repr(shape).encode())
    # delay: no bar for what takes less than a second
    with tqdm(total=len(rows), desc="prepare", unit="image", delay=1, disable=None) as bar:
        size = max(1, CHUNK_BYTES // math.prod(pixels.shape[1:]))
        for start in range(0, len(rows), size):
            chunk = pixels[rows[start : start + size]]
            content = fit_pixels(chunk, settings.size, settings.channels).tobytes()
            file.write(content)
            digest.update(content)
            bar.update(len(chunk))
    return channels, height, width
