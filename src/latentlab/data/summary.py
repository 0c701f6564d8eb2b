"""What stage `prepare` found: counts, sizes and faults of a data set; plain data and sentences."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from latentlab.data.duplicates import Duplicates, count_duplicates, groups_cut
from latentlab.data.partition import Part, wanted_sizes
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Source
from latentlab.data.splits import SPLITS
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import MAX_NAMES, counted, some

DARK, LIGHT = 8, 247  # of 255
FEWEST, MOST = 0.8, 1.25  # times what its fraction means: sizes of a drawn split as usual
NEARLY_ALL = 0.99  # fraction of the values of a near-black or near-white image


@dataclass(frozen=True)
class DataSummary:
    """The summary of a data set, the content of results/data/summary.json.

    Attributes:
        name: the data set, as in DataSettings.name.
        counts: images of each split.
        classes: class → images of each split; None without labels.
        widths, heights: smallest, median and largest original size in pixels; None if not known.
        upscaled: files whose shorter side has fewer pixels than the prepared images.
        multi_frame, frames_dropped: files of which frames are not used, and the number of these.
        multi_frame_examples: some of these files.
        extra_channels: files with a channel that is neither colour nor alpha, which is not used.
        unreadable: number of files that were skipped.
        near_black, near_white: images in which at least 99 % of the values are ≤ 8, or ≥ 247.
        duplicates: images with equal pixels.
        groups, groups_cut: number of groups, and of those that are in several splits.
        without_training: classes without a training image.
        missing: split → number of classes that it lacks.
        other_size: drawn split whose size is far from its fraction → the size that this means.
        notes: sentences on how the files were read.
    """

    name: str
    counts: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]] | None = None
    widths: tuple[int, int, int] | None = None
    heights: tuple[int, int, int] | None = None
    upscaled: int = 0
    multi_frame: int = 0
    frames_dropped: int = 0
    multi_frame_examples: tuple[str, ...] = ()
    extra_channels: tuple[str, ...] = ()
    unreadable: int = 0
    near_black: int = 0
    near_white: int = 0
    duplicates: Duplicates = field(default_factory=Duplicates)
    groups: int = 0
    groups_cut: tuple[str, ...] = ()
    without_training: tuple[str, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    other_size: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def content(self) -> dict[str, Any]:
        """Plain data for JSON, with the sentences. Bytes of names that are not UTF-8 become "?"."""
        data = {**asdict(self), "sentences": sentences(self)}
        return json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))


def summarize(source: Source, parts: Mapping[str, Part], settings: DataSettings) -> DataSummary:
    """Return the summary of a split data set."""
    infos = source.train.infos
    sides = [(info.width, info.height) for info in infos.values()]
    several = sorted(name for name, info in infos.items() if info.dropped)
    splits = np.concatenate([np.full(len(part.rows), name) for name, part in parts.items()])
    names = [part.images.names[row] for part in parts.values() for row in part.rows.tolist()]
    labels = [part.labels for part in parts.values() if part.labels is not None]
    groups = [
        part.images.groups[row]
        for part in parts.values()
        if part.images.groups is not None
        for row in part.rows.tolist()
    ]
    near_black, near_white = _near(source)
    classes = _classes(source, parts)
    return DataSummary(
        name=source.name,
        counts={name: len(part.rows) for name, part in parts.items()},
        classes=classes,
        widths=_range([width for width, _ in sides]),
        heights=_range([height for _, height in sides]),
        upscaled=sum(min(side) < (settings.size or 0) for side in sides),
        multi_frame=len(several),
        frames_dropped=sum(infos[name].dropped for name in several),
        multi_frame_examples=tuple(several[:MAX_NAMES]),
        extra_channels=tuple(sorted(name for name, info in infos.items() if info.unused_channels)),
        unreadable=len(source.unreadable),
        near_black=near_black,
        near_white=near_white,
        duplicates=count_duplicates(
            np.concatenate([part.prints for part in parts.values()]),
            splits,
            np.concatenate(labels) if labels else None,
            names,
        ),
        groups=len(set(groups) - {""}),
        groups_cut=tuple(groups_cut(groups, splits)) if groups else (),
        without_training=tuple(name for name, n in (classes or {}).items() if not n["train"]),
        missing={
            split: lacking
            for split in parts
            if (lacking := sum(not counts[split] for counts in (classes or {}).values()))
        },
        other_size={
            name: wanted
            for name, wanted in wanted_sizes(source, settings, parts).items()
            if not FEWEST * wanted <= len(parts[name].rows) <= MOST * wanted
        },
        notes=source.notes,
    )


def sentences(summary: DataSummary) -> list[str]:
    """What the user should know, one sentence each; nothing if all is as usual."""
    said = [*_about_duplicates(summary.duplicates), *_about_splits(summary)]
    if copies := summary.duplicates.copies:
        said.append(f"{counted(copies, 'image', 'is')} equal to others, pixel by pixel")
    for split, wanted in summary.other_size.items():
        said.append(
            f"the {split} split has {counted(summary.counts[split], 'image')}, where"
            f" data.{split}_fraction means {wanted:,}: images that belong together (equal pixels,"
            " one group, one file) stay in one split, and each class keeps an image for training"
        )
    if summary.frames_dropped:
        frames = counted(summary.frames_dropped, "frame")
        files = counted(summary.multi_frame, "file")
        examples = ", ".join(summary.multi_frame_examples[:2])
        said.append(f"not used (data.frames): {frames} of {files}, such as {examples}")
    if extra := summary.extra_channels:
        said.append(
            f"{counted(len(extra), 'file', 'has')} a channel that is neither colour nor alpha,"
            f" which is not used: {some(extra)}"
        )
    if summary.upscaled:
        upscaled = counted(summary.upscaled, "file", "was")
        said.append(f"{upscaled} smaller than data.size, and enlarged")
    for tone, count in (("black", summary.near_black), ("white", summary.near_white)):
        if count:
            said.append(f"{counted(count, 'image', 'is')} nearly all {tone}")
    return [*said, *summary.notes]


def _about_duplicates(found: Duplicates) -> list[str]:
    """Equal images in several splits or classes."""
    first = "; ".join(f"{a} = {b}" for a, b in found.examples[:2])
    counts = {
        ("test image", "a training or validation image"): found.test,
        ("validation image", "a training image"): found.val,
        ("image", "an image of another class"): found.classes,
    }
    return [
        f"{counted(count, noun, 'equals')} {other} ({first})"
        for (noun, other), count in counts.items()
        if count
    ]


def _about_splits(summary: DataSummary) -> list[str]:
    """Groups in several splits, and classes that a split lacks."""
    said = []
    if cut := summary.groups_cut:
        listed = f"in several splits: {len(cut):,} of {counted(summary.groups, 'group')}"
        said.append(f"{listed} ({some(cut)})")
    if lacking := summary.without_training:
        said.append(f"{counted(len(lacking), 'class', 'has')} no training image: {some(lacking)}")
    total = len(summary.classes or ())
    for split, count in summary.missing.items():
        if split != "train":
            said.append(f"without a {split} image: {count:,} of {counted(total, 'class')}")
    return said


def require_allowed(summary: DataSummary, settings: DataSettings) -> None:
    """Raise LatentlabError for what the settings on_duplicates and on_split_problem forbid."""
    equal, faults = _about_duplicates(summary.duplicates), _about_splits(summary)
    if settings.on_duplicates == "error" and equal:
        raise LatentlabError(
            f"{'; '.join(equal)}. data.on_duplicates is error: equal images may not be in two"
            " splits or two classes. Remove the copies, or set it to keep_together or report."
        )
    if settings.on_split_problem == "error" and faults:
        raise LatentlabError(
            f"{'; '.join(faults)}. data.on_split_problem is error: each split needs each class, and"
            " a group belongs to one split. Add images, correct the splits, or set it to report."
        )


def _classes(source: Source, parts: Mapping[str, Part]) -> dict[str, dict[str, int]] | None:
    if source.classes is None:
        return None
    counts = {
        split: np.bincount(part.labels, minlength=len(source.classes))
        for split, part in parts.items()
        if part.labels is not None
    }
    return {
        name: {split: int(counts[split][label]) for split in SPLITS if split in counts}
        for label, name in enumerate(source.classes)
    }


def _near(source: Source) -> tuple[int, int]:
    """The number of near-black and of near-white images."""
    black = white = 0
    for images in (source.train, source.test):
        if images is None:
            continue
        size = max(1, 2**20 // int(np.prod(images.pixels.shape[1:])))
        for start in range(0, len(images.pixels), size):
            block = images.pixels[start : start + size].reshape(
                min(size, len(images.pixels) - start), -1
            )
            black += int(((block <= DARK).mean(1) >= NEARLY_ALL).sum())
            white += int(((block >= LIGHT).mean(1) >= NEARLY_ALL).sum())
    return black, white


def _range(values: Sequence[int]) -> tuple[int, int, int] | None:
    """The smallest, the median and the largest value."""
    if not values:
        return None
    return min(values), int(statistics.median_low(values)), max(values)
