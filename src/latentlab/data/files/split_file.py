"""A CSV file that says the split, the label and the group of each image file.

    file,split,label,group
    a/1.png,train,cat,patient 7

Only `file` is required: a path relative to the folder of images. data/prepared/split.csv has the
same columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from latentlab.data.files.layout import split_of
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import some

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
        LatentlabError: no UTF-8, unknown or missing columns, unknown splits, a file twice, or a
            split or a label in some lines only.
    """
    try:
        text = content.decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise _error(place, f"is not a CSV file ({error})") from error
    rows = [row for row in rows if any(row)]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "file" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        found = ", ".join(header) or "nothing"
        raise _error(place, f"has the columns: {found}")
    lines: dict[str, SplitLine] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise _error(place, f"has {len(row)} instead of {len(header)} cells in row {number}")
        cells = dict.fromkeys(COLUMNS, "") | dict(zip(header, row, strict=True))
        name = cells["file"].removeprefix("./")
        if name in lines:
            raise _error(place, f"has the file {_safe(name)} twice, again in row {number}")
        split = _split(cells["split"], place, number)
        lines[name] = SplitLine(split, cells["label"].strip(), cells["group"].strip())
    _check_complete(lines, place)
    return lines


def refuse_unknown_files(
    lines: Mapping[str, SplitLine], known: Collection[str], place: str
) -> None:
    """Raise LatentlabError for lines whose file is not in `known`. `a.tif#3` is in `a.tif`."""
    unknown = {name for name in lines if name not in known}
    if unknown := {name for name in unknown if name.rpartition("#")[0] not in known}:
        raise _error(place, f"names {len(unknown)} files that are not there: {some(unknown)}")


def match_files(
    lines: Mapping[str, SplitLine], names: Sequence[str], files: Sequence[str], place: str
) -> list[SplitLine]:
    """Return the line of each image: of its name, such as `a.tif#3`, or of its file, `a.tif`.

    Raises:
        LatentlabError: an image has no line.
    """
    found = [lines.get(name) or lines.get(file) for name, file in zip(names, files, strict=True)]
    if missing := [name for name, line in zip(names, found, strict=True) if line is None]:
        raise LatentlabError(
            f"{place} has no line for {len(missing)} images: {some(missing)}. Each image needs"
            f" one. Add them; the split `{UNUSED}` leaves an image out."
        )
    return [line for line in found if line is not None]


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
            raise _error(place, f"has no {column} for {len(empty)} files: {some(empty)}")
    splits = {line.split for line in used} - {""}
    if splits and "train" not in splits:
        raise _error(place, f"has the splits {', '.join(sorted(splits))}, but no train")


def _error(place: str, found: str) -> LatentlabError:
    return LatentlabError(
        f"{place} {found}. Wanted: a CSV file with commas and the columns file, split, label,"
        " group; only file is required. file: a path in the folder of images, each once. split:"
        f" train, val, test or {UNUSED}, in all lines or in none. label: in all lines or in none."
        " Correct it."
    )


def _safe(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
