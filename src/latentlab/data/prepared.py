"""The folder data/prepared: stage `prepare` writes it once, every later stage reads it.

    {train,val,test}_images.npy    uint8 (N, C, H, W)
    {train,val,test}_labels.npy    int64 (N,), only with labels
    split.csv                      the origin of each image
    meta.json                      description of the data set (`DatasetInfo`)

The folder is written completely or not at all. The same images, settings and seed give the same
bytes.
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

from latentlab.contracts import ImageShape, Split
from latentlab.data.arrays import incomplete, load_array
from latentlab.data.disk_array import DiskArray
from latentlab.data.files.split_file import COLUMNS
from latentlab.data.partition import Part, partition
from latentlab.data.preprocessing import preprocess_images
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Source
from latentlab.data.splits import SPLITS
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import fresh_folder
from latentlab.utils.memory import fits_memory

CHUNK_BYTES = 32 * 2**20  # of images that are in memory during writing


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a prepared data set, the content of meta.json.

    Attributes:
        name: the data set, as in DataSettings.name.
        image_shape: (C, H, W) of every image.
        classes: classes[label] is the name of a class; None without labels.
        counts: number of images in "train", "val" and "test".
        unreadable: the files that were skipped, relative to the image folder.
        seed: the seed of the split.
        sha256: checksum of all arrays, in the order train, val, test.
        whites: white levels of integers deeper than 8 bits whose range the images use. With them,
            a trained model knows that a dark file is dark.
    """

    name: str
    image_shape: ImageShape
    classes: tuple[str, ...] | None
    counts: Mapping[str, int]
    unreadable: tuple[str, ...]
    seed: int
    sha256: str
    whites: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes K; 0 without labels."""
        return len(self.classes or ())

    @property
    def data_spec(self) -> dict[str, ImageShape | int]:
        """Arguments of a model's constructor that the data determine: image_shape, num_classes."""
        return {"image_shape": self.image_shape, "num_classes": self.num_classes}


def write_prepared(
    source: Source,
    settings: DataSettings,
    seed: int,
    folder: Path,
    parts: Mapping[str, Part] | None = None,
) -> DatasetInfo:
    """Preprocess the images by `settings`, and write `folder`.

    `parts`: the splits of `source`; None: those of `partition`, by `seed`. For own images,
    split.csv has the columns of a split file: file, split, label (the name of the class) and group.
    For public data sets it has split, source (the row in the arrays of the source; for official
    test images: in the test arrays) and label (the number of the class).

    Raises:
        LatentlabError: too few images for three splits, or the folder cannot be written.
    """
    parts = parts or partition(source, settings, seed)
    with fresh_folder(folder) as fresh:
        return _write(fresh, source, parts, settings, seed)


def read_meta(folder: Path) -> DatasetInfo:
    """Read meta.json of a prepared folder.

    Raises:
        LatentlabError: the file is missing, damaged, or has values that are not valid.
    """
    try:
        return _parse_meta(json.loads((folder / "meta.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise incomplete(folder, f"meta.json cannot be read ({error!r})") from error


def read_split(folder: Path, split: str, mmap: bool | None = None) -> Split:
    """Read one split. With `mmap`, its images are a read-only memory map.

    The default is a memory map for images that take more than a quarter of the memory.

    Raises:
        LatentlabError: an unknown name, or a folder that is missing or not complete.
    """
    if split not in SPLITS:
        raise LatentlabError(f"{split!r} is not a split. Choose one of: {', '.join(SPLITS)}.")
    info = read_meta(folder)
    shape = (info.counts[split], *info.image_shape)
    mmap = not fits_memory(math.prod(shape)) if mmap is None else mmap
    images = load_array(folder / f"{split}_images.npy", np.uint8, shape, mmap=mmap)
    return Split(images, read_labels(folder, split, info))


def _parse_meta(content: Any) -> DatasetInfo:
    """Validate parsed JSON. Raise KeyError, TypeError or ValueError if it is not valid."""
    if not isinstance(content, dict):
        raise TypeError(f"{type(content).__name__} instead of an object")
    channels, height, width = shape = content.pop("image_shape")
    counts, classes = content.pop("counts"), content.pop("classes")
    sizes = [*shape, *(counts[name] for name in SPLITS)]
    if not all(type(size) is int and size > 0 for size in sizes) or len(counts) != 3:
        raise ValueError(f"image_shape {shape} and counts {counts} are not positive integers")
    texts = [content["name"], content["sha256"], *(classes or ()), *content["unreadable"]]
    if not all(isinstance(text, str) for text in texts) or type(content["seed"]) is not int:
        raise ValueError("names are not text, or the seed is not an integer")
    whites = content.pop("whites", ())
    if not isinstance(whites, list | tuple) or not all(type(white) is int for white in whites):
        raise ValueError(f"whites {whites!r} are not integers")
    return DatasetInfo(
        image_shape=(channels, height, width),
        classes=None if classes is None else tuple(classes),
        counts=counts,
        unreadable=tuple(content.pop("unreadable")),
        whites=tuple(whites),
        **content,
    )


def read_labels(folder: Path, split: str, info: DatasetInfo) -> torch.Tensor | None:
    """Read the labels of a split, int64 (N,); None for data without labels.

    Raises:
        LatentlabError: as `read_split`.
    """
    if info.classes is None:
        return None
    path = folder / f"{split}_labels.npy"
    return load_array(path, np.int64, (info.counts[split],), mmap=False)


def _write(
    folder: Path,
    source: Source,
    parts: Mapping[str, Part],
    settings: DataSettings,
    seed: int,
) -> DatasetInfo:
    digest = hashlib.sha256()
    shapes = []
    for name, part in parts.items():
        with (folder / f"{name}_images.npy").open("wb") as array:
            shapes.append(_write_images(array, part.images.pixels, part.rows, settings, digest))
        if part.labels is not None:
            digest.update(part.labels.tobytes())
            np.save(folder / f"{name}_labels.npy", part.labels, allow_pickle=False)
    _write_table(folder / "split.csv", source, parts)
    info = DatasetInfo(
        name=source.name,
        image_shape=shapes[0],
        classes=source.classes,
        counts={name: len(part.rows) for name, part in parts.items()},
        unreadable=source.unreadable,
        seed=seed,
        sha256=digest.hexdigest(),
        whites=source.whites,
    )
    (folder / "meta.json").write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    return info


def _write_table(path: Path, source: Source, parts: Mapping[str, Part]) -> None:
    """Write the origin of each image."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS if source.is_own else ("split", "source", "label"))
        for split, part in parts.items():
            labels = part.labels if part.labels is not None else repeat("")
            for row, label in zip(part.rows.tolist(), labels, strict=False):
                name = part.images.names[row]
                if not source.is_own:
                    table.writerow((split, name, label))
                    continue
                text = source.classes[int(label)] if source.classes else ""
                groups = part.images.groups
                table.writerow((name, split, text, groups[row] if groups else ""))


def _write_images(
    file: IO[bytes],
    pixels: np.ndarray | DiskArray,
    rows: np.ndarray,
    settings: DataSettings,
    digest: hashlib._Hash,
) -> ImageShape:
    """Write pixels[rows], preprocessed, in chunks. A full disk is an OSError, not a bus error."""
    from tqdm import tqdm

    channels, height, width = preprocess_images(
        pixels[:1], settings.size, settings.channels, settings.pixels
    ).shape[1:]
    shape = (len(rows), channels, height, width)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    digest.update(repr(shape).encode())
    # delay: no progress bar if writing takes less than a second
    with tqdm(total=len(rows), desc="prepare", unit="image", delay=1, disable=None) as bar:
        size = max(1, CHUNK_BYTES // math.prod(pixels.shape[1:]))
        for start in range(0, len(rows), size):
            chunk = pixels[rows[start : start + size]]
            content = preprocess_images(
                chunk, settings.size, settings.channels, settings.pixels
            ).tobytes()
            file.write(content)
            digest.update(content)
            bar.update(len(chunk))
    return channels, height, width
