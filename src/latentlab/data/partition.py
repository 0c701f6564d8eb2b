"""Which images of a source are in which split, and how equal they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentlab.data.duplicates import connected, fingerprints
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.data.splits import SPLITS, split_indices, split_size


@dataclass(frozen=True)
class Part:
    """One split: the `rows` of `images`, in the order in which they are stored.

    `prints`: int (n,), equal for images with equal pixels, in all splits.
    """

    images: Images
    rows: np.ndarray
    prints: np.ndarray

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.images.labels is None else self.images.labels[self.rows]


def partition(source: Source, settings: DataSettings, seed: int) -> dict[str, Part]:
    """Split `source` by `seed`. Return {split: its part}, every split in random order.

    Given splits stay: the official test images of a public data set, and the folders or the file of
    own images. The others are drawn at random, stratified by class. In them, own images of one
    group, of one file, and with equal pixels (settings.on_duplicates) stay together.

    Raises:
        LatentlabError: too few images for the splits.
    """
    generator = torch.Generator().manual_seed(seed)
    images, test = source.train, source.test
    prints = fingerprints([images.pixels, *([test.pixels] if test else [])])
    count = len(images.pixels)
    indices = split_indices(
        count,
        images.labels,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction if test is None else None,
        generator=generator,
        units=_units(source, settings, prints[:count]),
        assigned=None if images.splits is None else np.array(images.splits),
    )
    parts = {name: Part(images, rows, prints[rows]) for name, rows in indices.items()}
    if test is not None:
        rows = torch.randperm(len(test.pixels), generator=generator).numpy()
        parts["test"] = Part(test, rows, prints[count + rows])
    return {name: parts[name] for name in SPLITS}


def wanted_sizes(
    source: Source, settings: DataSettings, parts: Mapping[str, Part]
) -> dict[str, int]:
    """{split: the number of images that its fraction means}, for the splits that are drawn."""
    given = {*(source.train.splits or ()), *(["test"] if source.test else [])} - {"train"}
    count = sum(len(part.rows) for name, part in parts.items() if name not in given)
    fractions = {"val": settings.val_fraction, "test": settings.test_fraction}
    return {
        name: split_size(fraction, count)
        for name, fraction in fractions.items()
        if name in parts and name not in given
    }


def _units(source: Source, settings: DataSettings, prints: np.ndarray) -> np.ndarray | None:
    """int (N,): own images that stay in one split have one number. None: each stands alone."""
    if not source.is_own:
        return None
    images = source.train
    keys = [prints] if settings.on_duplicates != "report" else []
    if images.groups is not None:
        keys.append(_numbers(images.groups))
    if images.files is not None:
        keys.append(_numbers(images.files))
    keys = [key for key in keys if len(np.unique(key)) < len(key)]
    return connected(*keys) if keys else None


def _numbers(names: Sequence[str]) -> np.ndarray:
    """int64 (N,): equal for equal names; each "" has a number of its own."""
    known: dict[str, int] = {}
    return np.array(
        [known.setdefault(name, row) if name else row for row, name in enumerate(names)], np.int64
    )
