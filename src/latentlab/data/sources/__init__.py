"""Where images come from. `open_source` finds the one that the settings name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentlab.contracts import LatentlabError
from latentlab.data.rows import ImageRows
from latentlab.data.settings import DataSettings

DATA_VARIABLE = "LATENTLAB_DATA"


@dataclass(frozen=True)
class Images:
    """`pixels` uint8 (N, C, H, W), in memory or on disk; `labels` int64 (N,) or None; `names` (N,).

    A name is what split.csv says: the index in the source's own file, or a path relative to the
    folder of images.
    """

    pixels: np.ndarray | ImageRows
    labels: np.ndarray | None
    names: Sequence[object]


@dataclass(frozen=True)
class Source:
    """A data set before it is split; `test` is the official test split where there is one.

    `classes[label]` is the class's name. `unreadable` lists the files that were left out.
    """

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...] | None
    unreadable: tuple[str, ...] = ()


def open_source(settings: DataSettings, root: Path) -> Source:
    """Load, or download and load, the set that `settings.name` names; `root` is the project's.

    Public sets lie in sub-folders of the folder that the environment variable LATENTLAB_DATA names,
    by default data/raw.

    Raises:
        LatentlabError: files absent and not to be had, damaged, unreadable or too few.
    """
    if settings.name == "digits":
        from latentlab.data.sources.digits import load_digits

        return load_digits()
    if settings.name == "image_folder":
        from latentlab.data.sources.folder import load_folder

        return load_folder(_home(root, settings.folder), settings, scratch=root / "data")
    if settings.name == "shards":
        from latentlab.data.sources.shards import load_shards

        return load_shards(_home(root, settings.folder), settings, scratch=root / "data")
    raw = Path(os.environ.get(DATA_VARIABLE) or _home(root, "data/raw"))
    if settings.name == "cifar10":
        from latentlab.data.sources.cifar import load_cifar10

        return load_cifar10(raw)
    from latentlab.data.sources.idx import load_idx_set

    return load_idx_set(settings.name, raw)


def absent(name: str, files: str, folder: Path, reason: object) -> LatentlabError:
    """The error for a public set that is neither on disk nor to be downloaded."""
    return LatentlabError(
        f"{name}: {files} not found under {folder}. {reason} Put {files} into {folder / name}, or "
        f"set {DATA_VARIABLE} to a folder that holds {name}/ with them."
    )


def _home(root: Path, relative: str) -> Path:
    """Untracked inputs stay in the real project while DVC runs an experiment in a copy of it."""
    home = Path(os.environ.get("DVC_ROOT") or root)
    return home / relative if (home / relative).exists() else root / relative
