"""What is known of the data before a training: shape, classes, and how many images there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentlab.config.problems import PARAMS, Report
from latentlab.contracts import ImageShape
from latentlab.data.settings import DataSettings
from latentlab.data.sources import SOURCES


@dataclass(frozen=True)
class DataFacts:
    """`counts`: images of each split. `class_counts`: class → number of its training images.

    `counts` and `class_counts` are empty before stage prepare, `class_counts` also without labels.
    """

    image_shape: ImageShape
    num_classes: int
    counts: Mapping[str, int] = field(default_factory=dict)
    class_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def data_spec(self) -> dict[str, Any]:
        """The arguments of a model that the data decide."""
        return {"image_shape": self.image_shape, "num_classes": self.num_classes}


def data_facts(root: Path, shared: Mapping[str, Any], report: Report) -> DataFacts:
    """The facts of data/prepared if it is of these settings; else those of the source.

    Problems of the folder of the images, and what is not known, are added to `report`.
    """
    from latentlab.data.prepared import read_meta

    settings = DataSettings(**shared.get("data", {}))
    _check_folder(root, settings, report)
    prepared = root / "data" / "prepared"
    if (prepared / "meta.json").is_file():
        meta = report.attempt("data/prepared", read_meta, prepared)
        if meta is not None and meta.name == settings.name and _fits(meta.image_shape, settings):
            return report.attempt("data/prepared", prepared_facts, prepared) or DataFacts(
                meta.image_shape, meta.num_classes
            )
        report.notes.append("data/prepared is of other settings: the next run prepares it again")
    return _facts_of_source(settings, root, report)


def prepared_facts(folder: Path) -> DataFacts:
    """The facts of a prepared folder. Raise LatentlabError for one that is not complete."""
    from latentlab.data.prepared import read_labels, read_meta

    meta = read_meta(folder)
    labels = read_labels(folder, "train", meta)
    class_counts: dict[str, int] = {}
    if labels is not None and meta.classes:
        found = labels.bincount(minlength=meta.num_classes).tolist()
        class_counts = dict(zip(meta.classes, found, strict=True))
    return DataFacts(meta.image_shape, meta.num_classes, meta.counts, class_counts)


def _check_folder(root: Path, settings: DataSettings, report: Report) -> None:
    needs_size = SOURCES[settings.name].needs_size
    if not (root / settings.folder).exists() and (needs_size or (root / "dvc.yaml").is_file()):
        use = "has the images" if needs_size else "is watched by dvc.yaml"
        report.add(
            PARAMS,
            f"data.folder is {settings.folder!r}, which does not exist, but {use}:"
            f" `mkdir -p {settings.folder}`, or set data.folder",
        )


def _fits(shape: ImageShape, settings: DataSettings) -> bool:
    return settings.size in (None, shape[1]) and settings.channels in (None, shape[0])


def _own_size(settings: DataSettings, root: Path, report: Report) -> int:
    """The size of own images for data.size null; 32, with a note, if it is not known."""
    from latentlab.data.sources.folder import look_size

    has_files = settings.name == "image_folder" and (root / settings.folder).exists()
    if has_files and (size := report.attempt(PARAMS, look_size, settings, root)):
        return size
    report.notes.append("the size of the images is not known before stage prepare; assumed: 32")
    return 32


def _facts_of_source(settings: DataSettings, root: Path, report: Report) -> DataFacts:
    entry = SOURCES[settings.name]
    if entry.image_shape:
        channels, size, _ = entry.image_shape
        channels, size = settings.channels or channels, settings.size or size
        return DataFacts((channels, size, size), entry.num_classes)
    size = settings.size or _own_size(settings, root, report)
    shape = (settings.channels or 3, size, size)
    if settings.name != "image_folder" or not (root / settings.folder).exists():
        report.notes.append("the number of classes is not known before stage prepare; assumed: 0")
        return DataFacts(shape, 0)
    from latentlab.data.sources.folder import look

    names, classes = report.attempt(PARAMS, look, settings, root) or (None, None)
    if names == []:
        report.add(PARAMS, f"data.folder: {settings.folder} has no image: put your images there")
    return DataFacts(shape, len(classes or ()))
