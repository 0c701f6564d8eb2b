"""The names of classes and groups: their order, and names that differ in little."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from latentlab.data.files.folder_names import resembles
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted, some

MISSING = {"na", "n/a", "#n/a", "<na>", "null", "none", "unknown", "-", "?"}
NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,9})?")


def labels_of(
    classes: Sequence[str] | None,
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Return labels int64 (N,) and class names; None for fewer than two classes.

    The order is numerical if all names are numbers, else alphabetical. Bytes of a name that are not
    UTF-8 are escaped.
    """
    names = sorted(set(classes or ()))
    if classes is None or len(names) < 2:
        return None, None
    if all(NUMBER.fullmatch(name) for name in names):
        names.sort(key=lambda name: (float(name), name))
    number = {name: label for label, name in enumerate(names)}
    texts = tuple(name.encode("utf-8", "backslashreplace").decode() for name in names)
    return np.array([number[name] for name in classes], np.int64), texts


def class_notes(
    classes: Sequence[str] | None, splits: Sequence[str] | None, place: object
) -> list[str]:
    """Sentences about classes whose names differ in little, and about one of images without labels.

    Raises:
        LatentlabError: names that look the same, and names that differ in case, where each is in
            splits of its own.
    """
    notes = [
        f"'{name}' is a class like the others. If its images have no label, move them away"
        for name in sorted(set(classes or ()))
        if resembles(name) == "unlabelled"
    ]
    for same in _grouped(classes or (), _looks):
        raise LatentlabError(
            f"{place} has classes whose names look the same: {_quoted(same)}. They differ in spaces"
            " or in the Unicode form of a letter. Give them one name."
        )
    for same in _grouped(classes or (), _means):
        inside = [{split for name, split in zip(classes or (), splits or (), strict=True)
                   if name == one} for one in same] if splits else []  # fmt: skip
        if inside and not set.intersection(*inside):
            raise LatentlabError(
                f"{place} has the classes {_quoted(same)}, each in splits of its own. Classes are"
                " told apart by case and by zeros. Give them one name in all splits."
            )
        notes.append(
            f"{_quoted(same)} are {len(same)} classes, though their names differ in little"
        )
    return notes


def group_notes(groups: Sequence[str] | None) -> list[str]:
    """Sentences about groups, which may be one, such as `P7` and `p7`, or none, such as `NA`."""
    images = Counter(group for group in groups or () if group.casefold() in MISSING)
    notes = [
        f"'{name}' is a group of {counted(count, 'image')}. If it means that the group is not"
        " known, leave the cell empty"
        for name, count in sorted(images.items())
    ]
    return notes + [
        f"{_quoted(same)} are {len(same)} groups, though their names differ in little"
        for same in _grouped(groups or (), _means)
    ]


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Lists of several names with an equal key."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _looks(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


def _means(name: str) -> str:
    """Equal for `Cat` and `cat`, and for `1`, `01` and `1.0`."""
    return f"{float(name):g}" if NUMBER.fullmatch(name) else _looks(name).casefold()


def _quoted(names: Iterable[str]) -> str:
    return some(f"'{name}'" for name in names)
