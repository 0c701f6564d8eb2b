"""Sources of images. `SOURCES` lists them; `load_source` loads the source of the settings.

To add a source, write a module in this folder with a function `load(settings, root) -> Source`, and
add one entry to `SOURCES`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:  # settings.py imports this file, which must therefore be cheap to import
    import numpy as np

    from latentlab.data.disk_array import DiskArray
    from latentlab.data.settings import DataSettings

DATA_VARIABLE = "LATENTLAB_DATA"


@dataclass(frozen=True)
class SourceEntry:
    """`module` of this folder loads the source. `needs_size`: its images have no common size.

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
    of images.
    """

    pixels: np.ndarray | DiskArray
    labels: np.ndarray | None
    names: Sequence[object]


@dataclass(frozen=True)
class Source:
    """A data set before it is split.

    Attributes:
        name: the key in `SOURCES`.
        train: the images to split.
        test: the official test split; None if there is none.
        classes: classes[label] is the name of a class; None without labels.
        unreadable: the files that were skipped.
    """

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...] | None
    unreadable: tuple[str, ...] = ()


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
    """The folder of public data sets: the environment variable LATENTLAB_DATA, or data/raw."""
    return Path(os.environ.get(DATA_VARIABLE) or project_path(root, "data/raw"))


def project_path(root: Path, relative: str) -> Path:
    """A path in the project `root`.

    DVC runs an experiment in a copy of the project, without files that git does not track. Such
    files are found in the original project.
    """
    original = Path(os.environ.get("DVC_ROOT") or root)
    return original / relative if (original / relative).exists() else root / relative


def not_found(name: str, files: str, folder: Path, reason: object) -> LatentlabError:
    """Return the error for a public data set that is not on disk and cannot be downloaded."""
    return LatentlabError(
        f"{name}: {files} not found under {folder}. {reason} Put {files} into {folder / name}, or "
        f"set {DATA_VARIABLE} to a folder that contains {name}/ with these files."
    )
