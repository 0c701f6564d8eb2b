"""The user's own images: every file below a folder that Pillow can read. Sub-folders are classes.

Files are decoded in several threads into an array on disk, so memory does not grow with the number
of images. Files that cannot be read are listed with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import ImageShape, to_float
from latentlab.data.decoding import decode_images, format_files
from latentlab.data.disk_array import temporary_array
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source, project_path
from latentlab.utils.errors import LatentlabError

IGNORED = {"thumbs.db", "desktop.ini"}  # files of file managers; hidden files are ignored too


def load(settings: DataSettings, root: Path) -> Source:
    """Read the images of `settings.folder` with settings.size and settings.channels (None: 3).

    Folders of the first level are the classes. Fewer than two classes mean no labels. Hidden files
    are ignored. Unreadable are: links that leave the folder, links to folders, files that are not
    regular, and images beyond Pillow's limit for decompression bombs. The decoded images are in a
    temporary file in data/, which is removed with the returned source.

    Raises:
        LatentlabError: no folder, no images, images beside class folders, or unreadable files if
            on_unreadable is "error".
    """
    folder = project_path(root, settings.folder)
    assert settings.size is not None  # DataSettings requires it
    if not folder.is_dir():
        raise LatentlabError(
            f"{folder} is not a folder. Put your images there, with one sub-folder per class if "
            "there are classes, or set data.folder."
        )
    names, problems = list_images(folder)
    refuse_mixed_folder(folder, names)
    shape = (len(names), settings.channels or 3, settings.size, settings.size)
    pixels = temporary_array(shape, root / "data")
    reasons = decode_images(lambda row: folder / names[row], pixels)
    problems |= {names[row]: why for row, why in reasons.items()}
    if problems and settings.on_unreadable == "error":
        raise LatentlabError(
            f"{len(problems)} of {len(problems.keys() | set(names))} files in {folder} cannot be "
            f"read: {format_files(problems)}. Repair or remove these files, or set "
            "data.on_unreadable to skip."
        )
    kept = [row for row, name in enumerate(names) if name not in problems]
    if not kept:
        raise LatentlabError(
            f"{folder} contains no image that can be read ({len(problems)} unreadable: "
            f"{format_files(problems) or 'none'}). Put your images there or set data.folder."
        )
    for new, old in enumerate(kept):  # close the gaps; new ≤ old, so no needed row is overwritten
        if new != old:
            pixels[new] = pixels[old]
    names = [names[row] for row in kept]
    labels, classes = folder_classes(names)
    images = Images(pixels.first(len(kept)), labels, names)
    return Source("image_folder", images, None, classes, tuple(sorted(problems)))


def read_images(paths: Sequence[Path], image_shape: ImageShape) -> tuple[list[str], Tensor]:
    """Read image files, and folders of image files, for a model of square images (C, H, H).

    Returns their names and images float32 (N, C, H, H) in [0, 1], preprocessed as in `load`.

    Raises:
        LatentlabError: no image, or files that cannot be read.
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
            f"{len(problems)} files cannot be read: {format_files(problems)}. Leave them out."
            if problems
            else f"There are no images in {given}. Give image files or folders of image files."
        )
    return [str(path) for path in files], to_float(torch.from_numpy(pixels))


def list_images(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the files below `folder`, sorted relative POSIX paths, and {refused path: reason}."""
    top = folder.resolve()
    names, refused = [], {}
    for here, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if os.path.islink(path := Path(here, name)):
                refused[path.relative_to(top).as_posix()] = "a link to a folder is not followed"
        for name in files:
            if name.startswith(".") or name.lower() in IGNORED:
                continue
            path = Path(here, name)
            relative = path.relative_to(top).as_posix()
            if not path.resolve().is_relative_to(top):
                refused[relative] = "a link that leaves the folder"
            elif not path.is_file():  # reading a pipe would never end
                refused[relative] = "not a regular file"
            else:
                names.append(relative)
    return sorted(names), refused


def refuse_mixed_folder(folder: Path, names: list[str]) -> None:
    """Raise LatentlabError if some images are in class folders and some beside them."""
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise LatentlabError(
            f"{folder} contains {len(loose)} files beside its class folders: "
            f"{format_files(dict.fromkeys(loose, ''))}. Move these files into a class folder or "
            "away. Without classes, put all images directly into the folder."
        )


def folder_classes(names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """int64 labels (N,) and class names by the first folder level; None for fewer than two."""
    tops = [name.split("/")[0] if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops)))
    if len(classes) < 2:
        return None, None
    number = {name: label for label, name in enumerate(classes)}
    return np.array([number[top] for top in tops], np.int64), classes
