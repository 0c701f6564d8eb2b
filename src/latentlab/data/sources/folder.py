"""The user's own images: every file below a folder that Pillow can read, sub-folders as classes.

Files are decoded in a few threads into a disk-backed array, so that memory stays small however many
there are. Whatever cannot be read is named, with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import ImageShape, LatentlabError, to_float
from latentlab.data.decode import decode_images, listed
from latentlab.data.rows import scratch_rows
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source

CLUTTER = {"thumbs.db", "desktop.ini"}  # left by file managers; hidden files are skipped too


def load_folder(folder: Path, settings: DataSettings, *, scratch: Path) -> Source:
    """Read `folder` at settings.size and settings.channels (None: 3).

    The first folder level gives the classes; fewer than two mean no labels. Hidden files are
    ignored. Links that leave the folder, links to folders, things that are not regular files and
    pictures beyond Pillow's decompression-bomb limit count as unreadable. The decoded images rest
    in an unnamed temporary file in `scratch`, which vanishes with the returned source.

    Raises:
        LatentlabError: no folder, no images, images beside class folders, or unreadable files while
            on_unreadable is "stop".
    """
    assert settings.size is not None  # DataSettings saw to it
    if not folder.is_dir():
        raise LatentlabError(
            f"{folder} is not a folder; put your images there, one sub-folder per class if you "
            "have classes, or set data.folder."
        )
    names, problems = list_images(folder)
    refuse_mixture(folder, names)
    shape = (len(names), settings.channels or 3, settings.size, settings.size)
    pixels = scratch_rows(shape, scratch)
    reasons = decode_images(lambda row: folder / names[row], pixels)
    problems |= {names[row]: why for row, why in reasons.items()}
    if problems and settings.on_unreadable == "stop":
        raise LatentlabError(
            f"{len(problems)} of {len(problems.keys() | set(names))} files in {folder} cannot be "
            f"read: {listed(problems)}. Repair or remove them, or set data.on_unreadable to skip."
        )
    kept = [row for row, name in enumerate(names) if name not in problems]
    if not kept:
        raise LatentlabError(
            f"{folder} holds no image that can be read ({len(problems)} unreadable: "
            f"{listed(problems) or 'none'}); put your images there or set data.folder."
        )
    for new, old in enumerate(kept):  # close the gaps; new ≤ old, so nothing is overwritten early
        if new != old:
            pixels[new] = pixels[old]
    names = [names[row] for row in kept]
    labels, classes = folder_classes(names)
    images = Images(pixels.first(len(kept)), labels, names)
    return Source("image_folder", images, None, classes, tuple(sorted(problems)))


def read_images(paths: Sequence[Path], image_shape: ImageShape) -> tuple[list[str], Tensor]:
    """Image files, and folders of them, as a model of square images (C, H, H) wants them.

    Returns their names and float32 (N, C, H, H) in [0, 1], fitted as `load_folder` fits them.

    Raises:
        LatentlabError: no image at all, or files that cannot be read, by name.
    """
    files: list[Path] = []
    problems: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            names, refused = list_images(path)
            files += [path / name for name in names]
            problems |= {str(path / name): why for name, why in refused.items()}
        else:
            files.append(path)
    channels, size, _ = image_shape
    pixels = np.zeros((len(files), channels, size, size), np.uint8)
    problems |= {
        str(files[row]): why for row, why in decode_images(files.__getitem__, pixels).items()
    }
    if problems or not files:
        given = ", ".join(str(path) for path in paths)
        raise LatentlabError(
            f"{len(problems)} files cannot be read: {listed(problems)}. Leave them out."
            if problems
            else f"no images in {given}; name image files or folders that hold some."
        )
    return [str(path) for path in files], to_float(torch.from_numpy(pixels))


def list_images(folder: Path) -> tuple[list[str], dict[str, str]]:
    """All files below `folder` as sorted relative POSIX paths, and {refused path: reason}."""
    top = folder.resolve()
    names, refused = [], {}
    for here, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if os.path.islink(path := Path(here, name)):
                refused[path.relative_to(top).as_posix()] = "a link to a folder is not followed"
        for name in files:
            if name.startswith(".") or name.lower() in CLUTTER:
                continue
            path = Path(here, name)
            relative = path.relative_to(top).as_posix()
            if not path.resolve().is_relative_to(top):
                refused[relative] = "a link that leaves the folder"
            elif not path.is_file():  # a pipe would block for ever
                refused[relative] = "not a regular file"
            else:
                names.append(relative)
    return sorted(names), refused


def refuse_mixture(folder: Path, names: list[str]) -> None:
    """Raise LatentlabError if some images lie in class folders and some beside them."""
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise LatentlabError(
            f"{folder} holds {len(loose)} files beside its class folders: "
            f"{listed(dict.fromkeys(loose, ''))}. Move them into a class folder or away; without "
            "classes, put all images directly into the folder."
        )


def folder_classes(names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """int64 labels (N,) and class names by the first folder level; None for fewer than two."""
    tops = [name.split("/")[0] if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops)))
    if len(classes) < 2:
        return None, None
    number = {name: label for label, name in enumerate(classes)}
    return np.array([number[top] for top in tops], np.int64), classes
