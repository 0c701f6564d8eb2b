"""The user's own images: every file of a folder or an archive that can be read.

Sub-folders are classes, or splits with classes inside. Files are decoded in several threads into an
array on disk, so memory does not grow with the number of images. Files that cannot be read are
listed with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from latentlab.data.decoding import Decoded, common_size, decode_files, without
from latentlab.data.files.class_names import class_notes, group_notes, labels_of
from latentlab.data.files.find import find_files
from latentlab.data.files.folder_names import mask_files
from latentlab.data.files.layout import Layout, read_layout
from latentlab.data.files.listing import ImageFiles, evenly_spaced, image_names
from latentlab.data.files.split_file import (
    UNUSED,
    SplitLine,
    lines_of,
    match_files,
    match_names,
    read_split_file,
    refuse_unknown_frames,
    unused_files,
)
from latentlab.data.problems import format_files
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source, own_place
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted, some

# endings of files that hold images, but that Pillow does not read → what to do
OTHER_FORMATS = {
    (".heic", ".heif", ".jxl"): "convert it to JPEG or PNG",
    (".npy", ".npz", ".mat", ".h5", ".hdf5", ".pt", ".pkl", ".parquet"): "save each image of the"
    " array as a PNG or TIFF file",
    (".dcm", ".dicom", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"): "convert each slice to a PNG or"
    " TIFF file, with the window that you want as white",
    (".czi", ".nd2", ".lif", ".svs", ".vsi", ".oib", ".ndpi"): "export it as TIFF",
    (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"): "develop it to JPEG or TIFF",
    (".mp4", ".avi", ".mov", ".mkv", ".webm"): "save its frames as images",
    (".svg", ".pdf", ".ai"): "render it as PNG",
}
MAX_LOOK = 2000  # files that are opened before stage prepare
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


def load(settings: DataSettings, root: Path) -> Source:
    """Read the images of `settings.folder` with settings.size and settings.channels (None: 3).

    Splits and classes come from the folders (`data.files.layout`) or from settings.split_file.
    Unreadable are also the links that `data.files.listing` does not follow, and files that are not
    regular. The decoded images are in a temporary file in data/, which is removed with the returned
    source.

    Raises:
        LatentlabError: no folder, no images, a layout that is not clear, a faulty split file or
            archive, or unreadable files if on_unreadable is "error".
    """
    place = own_place(root, settings.folder)
    found, table, lines, unused = _listed(place, settings, root)
    names = [name for name in found.names if name not in unused]
    refused = {name: why for name, why in found.refused.items() if name not in unused}
    if not lines:
        read_layout(image_names(names), place)  # stops before the work
    decoded = decode_files(names, lambda row: found.open(names[row]), settings, root / "data")
    problems = refused | {name: _hint(name, why) for name, why in decoded.problems.items()}
    _refuse_unreadable(place, problems, names, settings)
    refuse_unknown_frames(
        lines,
        decoded.names,
        {*problems, *unused},
        f"{place}/{table}",
        all_frames=settings.frames == "all",
    )
    frames = [
        line is not None and line.split == UNUSED
        for line in lines_of(lines, decoded.names, decoded.files)
    ]
    decoded = without(decoded, frames)
    left_out = [
        counted(count, noun)
        for count, noun in ((len(unused), "file"), (sum(frames), "frame"))
        if count
    ]
    notes = _link_notes(found)
    if left_out:
        notes.append(f"{table}: {' and '.join(left_out)} unused")
    return _source(decoded, lines, place, table, tuple(sorted(problems)), notes)


def look(settings: DataSettings, root: Path) -> tuple[list[str], tuple[str, ...] | None]:
    """The files that look like images, and the classes, without decoding. Errors as in `load`."""
    place = own_place(root, settings.folder)
    found, _, lines, _ = _listed(place, settings, root)
    names = image_names(found.names) or found.names
    if any(line.label for line in lines.values()):
        used = [line.label for line in lines.values() if line.split != UNUSED]
        return names, labels_of(used)[1]
    return names, read_layout(names, place).class_names


def look_size(settings: DataSettings, root: Path) -> int:
    """The size that data.size null gives, from the headers of at most 2,000 images.

    Raises:
        LatentlabError: the images are not squares of one size, or as in `load`.
    """
    place = own_place(root, settings.folder)
    found, _, _, unused = _listed(place, settings, root)
    names = image_names(found.names) or found.names
    names = evenly_spaced([name for name in names if name not in unused], MAX_LOOK)
    return common_size(names, lambda row: found.open(names[row]), settings.pixels)


def _listed(
    place: Path, settings: DataSettings, root: Path
) -> tuple[ImageFiles, str, dict[str, SplitLine], set[str]]:
    """The files without the split file, its name, its lines, and the files that it leaves out."""
    found = find_files(place, root / "data")
    table, lines = _split_lines(found, settings, root)
    found = replace(found, names=[name for name in found.names if name != table])
    known = {*found.names, *found.refused}
    lines = match_names(lines, known, f"{place}/{table}")
    return found, table, lines, unused_files(lines, known)


def _split_lines(
    found: ImageFiles, settings: DataSettings, root: Path
) -> tuple[str, dict[str, SplitLine]]:
    """The name of the split file and its lines; nothing without a split file."""
    given = settings.split_file
    if given is None:
        return "", {}
    name = os.path.relpath(root / given, found.place) if given not in found.names else given
    if name not in found.names:
        raise LatentlabError(
            f"data.split_file is {given!r}, which is not a file in {found.place}. It must be there:"
            " DVC watches the folder of the images and sees when it changes. Move the file into the"
            " folder, and set data.split_file to its path inside."
        )
    opened = found.open(name)
    content = opened.read_bytes() if isinstance(opened, Path) else opened.read()
    return name, read_split_file(content, f"{found.place}/{name}")


def _refuse_unreadable(
    place: Path, problems: Mapping[str, str], names: Sequence[str], settings: DataSettings
) -> None:
    count = len(problems.keys() | set(names))
    if problems and settings.on_unreadable == "error":
        raise LatentlabError(
            f"{len(problems)} of {counted(count, 'file')} in {place} cannot be read:"
            f" {format_files(dict(problems))}. Repair or remove these files, or set"
            " data.on_unreadable to skip."
        )
    if len(problems) == count:
        raise LatentlabError(
            f"{place} contains no image that can be read ({len(problems)} unreadable: "
            f"{format_files(dict(problems)) or 'none'}). Put your images there or set data.folder."
        )


def _source(
    decoded: Decoded,
    lines: Mapping[str, SplitLine],
    place: Path,
    table: str,
    unreadable: tuple[str, ...],
    notes: list[str],
) -> Source:
    """Give each image its split, class and group."""
    names, files = decoded.names, decoded.files
    matched = match_files(lines, names, files, f"{place}/{table}") if lines else []
    has_splits = any(line.split for line in matched)
    has_labels = any(line.label for line in matched)
    complete = has_splits and has_labels
    layout = Layout(None, None) if complete else read_layout(files, place)
    classes = [line.label for line in matched] if has_labels else layout.classes
    labels, class_names = labels_of(classes)
    splits = [line.split for line in matched] if has_splits else layout.splits
    groups = [line.group for line in matched] if any(line.group for line in matched) else None
    notes += _layout_notes(layout, has_labels=has_labels, has_splits=has_splits)
    if has_labels and class_names is None:
        notes.append(f"{table}: all labels are {matched[0].label!r}, so there are no classes")
    notes += class_notes(classes, splits, place) + group_notes(groups)
    if masks := mask_files(sorted(set(files))):
        named = f"{counted(len(masks), 'file', 'has')} the name of a mask of another"
        notes.append(f"{named}: {some(masks)}. Move masks away")
    images = Images(
        decoded.pixels,
        labels,
        names,
        splits=splits,
        groups=groups,
        files=files,
        infos=decoded.infos,
    )
    return Source(
        "image_folder",
        images,
        None,
        class_names,
        unreadable,
        notes=tuple(notes),
        whites=decoded.whites,
    )


def _layout_notes(layout: Layout, *, has_labels: bool, has_splits: bool) -> list[str]:
    """What the folders mean. The columns `label` and `split` of a split file come first."""
    notes = []
    if layout.inner and not has_labels:
        folders = counted(len(layout.inner), "folder")
        notes.append(f"not classes: {folders} inside of class folders ({some(layout.inner)})")
    if layout.wrapper:
        notes.append(f"all images are in {layout.wrapper}/, which is not a class")
    if layout.shared and not has_labels and not has_splits:
        notes.append(f"all images of each split are in {layout.shared}/, which is not a class")
    if layout.splits and not has_splits:
        given = sorted(set(layout.splits), key=("train", "val", "test").index)
        notes.append(f"the folders of {', '.join(given)} are the splits")
    return notes


def _link_notes(found: ImageFiles) -> list[str]:
    if not found.linked:
        return []
    listed = format_files(dict.fromkeys(found.linked, ""))
    return [
        f"links to folders elsewhere: {listed}. DVC does not look inside of them: after a change"
        " there, run `dvc repro -f prepare`"
    ]


def _hint(name: str, why: str) -> str:
    for endings, advice in OTHER_FORMATS.items():
        if name.lower().endswith(endings):
            return f"{why}; {advice}"
    if name.lower().endswith(ARCHIVES):
        return f"{why}; an archive of images can be data.folder itself"
    if name.lower().endswith(".csv"):
        return f"{why}; a table of splits, labels or groups is named by data.split_file"
    return why
