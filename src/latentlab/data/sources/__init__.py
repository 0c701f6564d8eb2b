"""Sources of images. `SOURCES` lists them; `load_source` loads the source of the settings.

To add a source, write a module in this folder with a function `load(settings, root) -> Source`, and
add one entry to `SOURCES`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:  # settings.py imports this file, which must therefore be cheap to import
    import numpy as np

    from latentlab.data.decoding import DecodedInfo
    from latentlab.data.disk_array import DiskArray
    from latentlab.data.settings import DataSettings

DATA_VARIABLE = "LATENTLAB_DATA"


@dataclass(frozen=True)
class SourceEntry:
    """`module` of this folder loads the source.

    `needs_size`: its images are those of the user, and can have several sizes. Then data.size is
    needed.

    `image_shape` (C, H, W) and `num_classes`: those of the images, where they are always the same.
    """

    module: str
    needs_size: bool = False
    image_shape: tuple[int, int, int] | None = None
    num_classes: int = 0


SOURCES = {
    "mnist_5k": SourceEntry("mnist_5k", image_shape=(1, 28, 28), num_classes=10),
    "digits": SourceEntry("digits", image_shape=(1, 8, 8), num_classes=10),
    "mnist": SourceEntry("idx", image_shape=(1, 28, 28), num_classes=10),
    "fashion_mnist": SourceEntry("idx", image_shape=(1, 28, 28), num_classes=10),
    "cifar10": SourceEntry("cifar", image_shape=(3, 32, 32), num_classes=10),
    "image_folder": SourceEntry("folder", needs_size=True),
    "shards": SourceEntry("shards", needs_size=True),
}


@dataclass(frozen=True)
class Images:
    """`pixels` uint8 (N, C, H, W), in memory or on disk; `labels` int64 (N,) or None; `names` (N,).

    `names` go into split.csv: the index in the source's own file, or a path relative to the folder
    of images. Of own images also, where known: `splits` (N,), "train", "val" or "test" of each;
    `groups` (N,), images of one group belong on one side of a split, "" is no group; `infos`, what
    the files hold, and `files` (N,), the file of each image.
    """

    pixels: np.ndarray | DiskArray
    labels: np.ndarray | None
    names: Sequence[object]
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    files: Sequence[str] | None = None
    infos: Mapping[str, DecodedInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set before it is split.

    Attributes:
        name: the key in `SOURCES`.
        train: the images to split; of own images, all images.
        test: the official test split of a public data set; None if there is none.
        classes: classes[label] is the name of a class; None without labels.
        unreadable: the files that were skipped.
        notes: sentences on how the files were read.
        whites: white levels of integers deeper than 8 bits whose range the images use.
    """

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...] | None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    whites: tuple[int, ...] = ()

    @property
    def is_own(self) -> bool:
        """True for the images of the user, which can have copies and groups."""
        entry = SOURCES.get(self.name)
        return entry is not None and entry.needs_size


def load_source(settings: DataSettings, root: Path) -> Source:
    """Load the data set `settings.name`, after a download if necessary.

    `root` is the folder of the project.

    Raises:
        LatentlabError: files that are missing and cannot be downloaded, damaged files, unreadable
            files, or too few images.
    """
    module = importlib.import_module(f"{__name__}.{SOURCES[settings.name].module}")
    return module.load(settings, root)


def raw_folder(root: Path) -> Path:
    """The folder of public data sets: the environment variable LATENTLAB_DATA, or data/raw.

    DVC runs an experiment in a copy of the project, without files that git does not track. The
    downloads are then in the original project, and have checksums.
    """
    if given := os.environ.get(DATA_VARIABLE):
        return Path(given).expanduser()
    original = Path(os.environ.get("DVC_ROOT") or root) / "data" / "raw"
    return original if original.exists() else root / "data" / "raw"


def own_place(root: Path, folder: str) -> Path:
    """The folder or archive of own images, data.folder: what DVC compares to see a change.

    Raises:
        LatentlabError: this is a copy of the project, which DVC made for an experiment, and the
            images are in the original only. DVC would not see a change of those images.
    """
    place = root / folder
    original = Path(os.environ.get("DVC_ROOT") or root) / folder
    if original.resolve() != place.resolve() and _has_files(original) and not _has_files(place):
        raise LatentlabError(
            f"data.folder is {folder!r}, which has no images in this copy of the project. DVC made"
            " the copy for an experiment, without files that git ignores, and sees no change of"
            " images elsewhere. Use the absolute path, in params.yaml or by `-S data.folder="
            f"{original.resolve()}`."
        )
    return place


def _has_files(place: Path) -> bool:
    """True for a file, and for a folder with a file that is not hidden, or a folder, inside."""
    if not place.is_dir():
        return place.is_file()
    return any(not path.name.startswith(".") for path in place.iterdir())


def not_found(name: str, files: str, folder: Path, reason: object) -> LatentlabError:
    """Return the error for a public data set that is not on disk and cannot be downloaded."""
    return LatentlabError(
        f"{name}: {files} not found under {folder}. {reason} Put {files} into {folder / name}, or "
        f"set {DATA_VARIABLE} to a folder that contains {name}/ with these files."
    )
