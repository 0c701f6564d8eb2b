"""A CSV file that says the split, the label and the group of each image file.

    file,split,label,group
    a/1.png,train,cat,patient 7

Only `file` is required: a path relative to the folder of images. data/prepared/split.csv has the
same columns.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from latentlab.data.files.folder_names import split_of
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted, some

COLUMNS = ("file", "split", "label", "group")
UNUSED = "unused"  # the split of images that are left out


@dataclass(frozen=True)
class SplitLine:
    """One line. `split`: "train", "val", "test" or "unused". An empty cell is ""."""

    split: str
    label: str
    group: str


def read_split_file(content: bytes, place: str) -> dict[str, SplitLine]:
    """Parse a split file: {file: its line}. `place`: the name of the split file, for errors.

    Raises:
        LatentlabError: labels that are not UTF-8, unknown or missing columns, unknown splits, a
            file twice, "nan" for a missing value, or a split or a label in some lines only.
    """
    try:
        text = content.decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise _error(place, f"is not a CSV file ({error})") from error
    if "\0" in text:
        raise _error(place, "is not UTF-8 text: it has bytes that are 0, as in UTF-16")
    numbered = [(number, row) for number, row in enumerate(rows, 1) if any(row)]
    header = [cell.strip().lower() for cell in numbered[0][1]] if numbered else []
    if "file" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        found = _safe(", ".join(header)) or "nothing"
        raise _error(place, f"has the columns: {found}")
    lines: dict[str, SplitLine] = {}
    for number, row in numbered[1:]:
        if len(row) != len(header):
            raise _error(place, f"has {len(row)} instead of {len(header)} cells in row {number}")
        cells = dict.fromkeys(COLUMNS, "") | dict(zip(header, row, strict=True))
        for column in COLUMNS[1:]:
            _check_cell(cells[column], column, place, number)
        name = cells["file"].removeprefix("./")
        if name in lines:
            raise _error(place, f"has the file {_safe(name)} twice, again in row {number}")
        split = _split(cells["split"], place, number)
        lines[name] = SplitLine(split, cells["label"].strip(), cells["group"].strip())
    _check_complete(lines, place)
    return lines


def match_names(
    lines: Mapping[str, SplitLine], known: Collection[str], place: str
) -> dict[str, SplitLine]:
    """Return the lines by the names in `known`. The frame `a.tif#3` is in the file `a.tif`.

    A name that is not there may be written with backslashes, or in the other Unicode form.

    Raises:
        LatentlabError: a line whose file is not there, or two lines of one file.
    """
    alike = {_plain(name): name for name in known}
    found: dict[str, SplitLine] = {}
    unknown = []
    for given, line in lines.items():
        name: str | None = given
        file, mark, frame = given.rpartition("#")
        if given not in known and file not in known:
            name = alike.get(_plain(given))
            if name is None and _plain(file) in alike:
                name = f"{alike[_plain(file)]}{mark}{frame}"
        if name is None:
            unknown.append(given)
        elif name in found:
            raise _error(place, f"has the file {_safe(name)} twice, once as {_safe(given)}")
        else:
            found[name] = line
    if unknown:
        there = f" (there is {_safe(min(known))})" if known else ""
        raise _error(
            place,
            f"names {counted(len(unknown), 'file')} that cannot be found: {some(unknown)}{there}",
        )
    return found


def refuse_unknown_frames(
    lines: Mapping[str, SplitLine],
    read: Iterable[str],
    skipped: Collection[str],
    place: str,
    *,
    all_frames: bool,
) -> None:
    """Raise LatentlabError for lines of frames that are not among the images `read`.

    `skipped`: files that are unreadable or unused. `all_frames`: every frame is read, so that a
    line of an unused frame must also name one that is there.
    """
    rest = {name for name, line in lines.items() if all_frames or line.split != UNUSED}
    rest = {name for name in rest if "#" in name} - {*read, *skipped}
    if rest := {name for name in rest if name.rpartition("#")[0] not in skipped}:
        raise _error(
            place,
            f"names {counted(len(rest), 'frame')} not to be read: {some(sorted(rest))}. The file"
            " has fewer, or data.frames is first",
        )


def unused_files(lines: Mapping[str, SplitLine], names: Iterable[str]) -> set[str]:
    """The files among `names` that are left out: unused, and without a line for a used frame."""
    kept = {
        name.rpartition("#")[0]
        for name, line in lines.items()
        if "#" in name and line.split != UNUSED
    }
    return {
        name for name in names if name in lines and lines[name].split == UNUSED and name not in kept
    }


def lines_of(
    lines: Mapping[str, SplitLine], names: Sequence[str], files: Sequence[str]
) -> list[SplitLine | None]:
    """The line of each image: of its name, such as `a.tif#3`, or else of its file, `a.tif`."""
    return [lines.get(name) or lines.get(file) for name, file in zip(names, files, strict=True)]


def match_files(
    lines: Mapping[str, SplitLine], names: Sequence[str], files: Sequence[str], place: str
) -> list[SplitLine]:
    """Return the line of each image: of its name, such as `a.tif#3`, or of its file, `a.tif`.

    Raises:
        LatentlabError: an image has no line.
    """
    found = lines_of(lines, names, files)
    if missing := [name for name, line in zip(names, found, strict=True) if line is None]:
        raise LatentlabError(
            f"{place} has no line for {counted(len(missing), 'image')}: {some(missing)}. Each image"
            f" needs one. Add them; the split `{UNUSED}` leaves an image out."
        )
    return [line for line in found if line is not None]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def _check_cell(cell: str, column: str, place: str, number: int) -> None:
    """Raise LatentlabError for values that stand for a missing one."""
    if cell.strip().lower() == "nan":
        raise _error(
            place,
            f"has the {column} {cell.strip()!r} in row {number}, as programs write a value that is"
            " missing. Leave the cell empty, or choose another name",
        )
    if any("\udc80" <= letter <= "\udcff" for letter in cell):
        raise _error(place, f"has a {column} that is not UTF-8 in row {number}: {_safe(cell)}")


def _split(word: str, place: str, number: int) -> str:
    word = word.strip()
    if not word or word.lower() == UNUSED:
        return word.lower()
    if (split := split_of(word)) is None:
        raise _error(place, f"has the split {_safe(word)!r} in row {number}")
    return split


def _check_complete(lines: Mapping[str, SplitLine], place: str) -> None:
    """Either all used lines have a split or none; the same for labels."""
    used = [line for line in lines.values() if line.split != UNUSED]
    if not used:
        raise _error(place, "has no line of an image that is used")
    for column in ("split", "label"):
        empty = [name for name, line in lines.items()
                 if line.split != UNUSED and not getattr(line, column)]  # fmt: skip
        if empty and len(empty) < len(used):
            raise _error(place, f"has no {column} for {counted(len(empty), 'file')}: {some(empty)}")
    splits = {line.split for line in used} - {""}
    if splits and "train" not in splits:
        raise _error(place, f"has the splits {', '.join(sorted(splits))}, but no train")


def _error(place: str, found: str) -> LatentlabError:
    return LatentlabError(
        f"{place} {found}. Wanted: a CSV file in UTF-8, with commas and the columns file, split,"
        " label, group; only file is required. file: a path in the folder of images, each once."
        f" split: train, val, test or {UNUSED}, in all lines or in none. label: in all lines or in"
        " none. Correct it."
    )


def _safe(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
