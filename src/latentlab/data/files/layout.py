"""Splits and classes from the folders of image files: pure functions of relative paths.

The usual layouts are known: `cat/1.png`; `train/cat/1.png` and `test/cat/1.png`; `cat/train/1.png`
and `cat/test/1.png`; each also inside of other folders that hold everything, such as `pets/`. A
layout that can be read in two ways is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latentlab.data.files.class_names import labels_of
from latentlab.data.files.folder_names import are_images_and_masks, resembles, split_of
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted, some

WANTED = (
    "Wanted: one folder per class; or train/, test/ and if you like val/, with one folder per class"
    " inside of each; or data.split_file, a CSV file with the columns file, split, label, group."
)


@dataclass(frozen=True)
class Layout:
    """What the folders say about each file.

    Attributes:
        splits: "train", "val" or "test" of each file; None without folders of splits.
        classes: the class of each file; None for fewer than two classes.
        wrapper: the folders that hold all files and mean nothing, such as "pets"; "" without.
        shared: the same inside of each split, such as "cat" in `train/cat` and `test/cat`.
        inner: folders inside of class folders, such as "cat/deep", which mean nothing.
    """

    splits: list[str] | None
    classes: list[str] | None
    wrapper: str = ""
    shared: str = ""
    inner: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes, in the order of `labels_of`; None without labels."""
        return labels_of(self.classes)[1]


def read_layout(names: Sequence[str], folder: object) -> Layout:
    """Return splits and classes of the files `names`, paths relative to `folder`.

    Raises:
        LatentlabError: images beside class folders, folders of splits beside other folders, splits
            without train/, two folders of one split, or names that only resemble those of splits.
    """
    paths = [name.split("/") for name in names]
    wrapper = _wrapper(paths)
    rest = [path[len(wrapper) :] for path in paths]
    tops = _tops(rest)
    place = "/".join([str(folder), *wrapper])
    if tops:
        _refuse_loose(rest, place)
    found, shared = {top: split_of(top) for top in tops}, ""
    below: Sequence[Sequence[str]]  # paths that start with the class
    if _are_splits(found.values()):
        _check_splits(found, place)
        splits = [str(found[path[0]]) for path in rest]
        classes, below, shared = _classes_of_splits([path[1:] for path in rest], splits, place)
    elif tops and all(_are_splits(map(split_of, inner)) for inner in _below(rest).values()):
        for top, inner in _below(rest).items():
            _check_splits({name: split_of(name) for name in inner}, f"{place}/{top}")
        splits = [str(split_of(path[1])) for path in rest]
        classes, below = [path[0] for path in rest], [[path[0], *path[2:]] for path in rest]
    else:
        _refuse_likely_splits(rest, place)
        splits, classes, below = None, [path[0] if tops else "" for path in rest], rest
    if len(set(classes)) < 2:
        return Layout(splits, None, "/".join(wrapper), shared)
    _refuse_masks(classes, place)
    folders = sorted({"/".join(path[:2]) for path in below if len(path) > 2})
    return Layout(splits, classes, "/".join(wrapper), shared, tuple(folders))


def _wrapper(paths: Sequence[Sequence[str]]) -> list[str]:
    """The leading folders that all files share."""
    wrapper: list[str] = []
    while paths and all(
        len(path) > len(wrapper) + 1 and path[len(wrapper)] == paths[0][len(wrapper)]
        for path in paths
    ):
        wrapper.append(paths[0][len(wrapper)])
    return wrapper


def _tops(paths: Iterable[Sequence[str]]) -> list[str]:
    return sorted({path[0] for path in paths if len(path) > 1})


def _below(paths: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """{folder: its sub-folders, and "" if it has files of its own}."""
    inner: dict[str, set[str]] = {}
    for path in paths:
        inner.setdefault(path[0], set()).add(path[1] if len(path) > 2 else "")
    return inner


def _are_splits(found: Iterable[str | None]) -> bool:
    """True if at least two folders are there and all have the name of a split."""
    found = list(found)
    return len(found) > 1 and None not in found


def _refuse_loose(paths: Sequence[Sequence[str]], place: str) -> None:
    if loose := [path[0] for path in paths if len(path) == 1]:
        raise LatentlabError(
            f"{place} contains {counted(len(loose), 'file')} beside its class folders:"
            f" {some(loose)}. Move these files into a class folder or away. Without classes, put"
            " all images directly into the folder."
        )


def _check_splits(found: dict[str, str | None], place: str) -> None:
    """Raise LatentlabError unless train/ is there and each split has one folder."""
    names = sorted(found)
    splits = list(found.values())
    if "train" not in splits:
        raise LatentlabError(
            f"{place} contains {some(names)}, but no folder train/. {WANTED} Add train/, or rename"
            " the folders if they are classes."
        )
    for split in sorted(set(splits) - {None}, key=str):
        if splits.count(split) > 1:
            same = [name for name in names if found[name] == split]
            raise LatentlabError(
                f"{place} contains {some(same)}, and all mean the split {split!r}. Keep one of"
                " them, or move the images of the others into it."
            )


def _classes_of_splits(
    paths: Sequence[Sequence[str]], splits: Sequence[str], place: str
) -> tuple[list[str], list[Sequence[str]], str]:
    """The class of each file inside of its split, its path from there, and the shared folders.

    `paths` start below the folder of the split.
    """
    shared: list[str] = []
    while inner := _shared_folder(paths, splits):
        paths = [path[1:] for path in paths]
        shared += [inner] if split_of(inner) is None else []
        place = f"{place}/…/{inner}"
    loose = [len(path) == 1 for path in paths]
    if any(loose) and not all(loose):
        counts = {
            split: sum(is_loose for is_loose, s in zip(loose, splits, strict=True) if s == split)
            for split in dict.fromkeys(splits)
        }
        listed = ", ".join(f"{count} in {split}/" for split, count in counts.items() if count)
        raise LatentlabError(
            f"{place}: some images are in class folders, but not these: {listed}. Either all images"
            " of all splits need a class folder or none. Sort them into class folders or move them"
            f" away. {WANTED}"
        )
    _refuse_deeper_classes(paths, splits, place)
    classes = ["" if is_loose else path[0] for path, is_loose in zip(paths, loose, strict=True)]
    return classes, list(paths), "/".join(shared)


def _refuse_deeper_classes(
    paths: Sequence[Sequence[str]], splits: Sequence[str], place: str
) -> None:
    """Raise LatentlabError for `train/images/cat` beside `test/cat`."""
    for split in dict.fromkeys(splits):
        own = [path for path, s in zip(paths, splits, strict=True) if s == split]
        others = {p[0] for p, s in zip(paths, splits, strict=True) if s != split and len(p) > 1}
        tops, inner = _tops(own), {path[1] for path in own if len(path) > 2}
        if len(tops) == 1 and tops[0] not in others and inner and inner <= others:
            raise LatentlabError(
                f"{place}: all images of the split {split} are in {tops[0]}/, and in it are"
                f" {some(sorted(inner))}, which are classes of the other splits. Move these folders"
                f" up, out of {tops[0]}/."
            )


def _shared_folder(paths: Sequence[Sequence[str]], splits: Sequence[str]) -> str:
    """The folder that holds all images of each split and is no class: `images`, or `train` again.

    Empty if there is none.
    """
    if any(len(path) == 1 for path in paths):
        return ""
    tops = {split: _tops(p for p, s in zip(paths, splits, strict=True) if s == split)
            for split in set(splits)}  # fmt: skip
    if any(len(each) > 1 for each in tops.values()):
        return ""
    names = {each[0] for each in tops.values()}
    same_split = all(split_of(each[0]) == split for split, each in tops.items())
    return min(names) if len(names) == 1 or same_split else ""


def _refuse_likely_splits(paths: Sequence[Sequence[str]], place: str) -> None:
    """Raise LatentlabError if folders look like splits but are not exactly that."""
    tops = _tops(paths)
    exact = {split_of(top) for top in tops} - {None}
    if "train" in exact and len(exact) > 1:
        others = [top for top in tops if split_of(top) is None]
        raise LatentlabError(
            f"{place} contains folders of splits, and beside them {some(others)}. {WANTED} Move"
            " the other folders away, or rename the folders if they are classes."
        )
    alike = [resembles(top) for top in tops]
    inside = [inner - {""} for inner in _below(paths).values()]
    shared = len(tops) > 1 and "train" in exact and len(set.intersection(*inside)) > 1
    if shared or (None not in alike and "train" in alike and len(set(alike)) > 1):
        raise LatentlabError(
            f"{place} contains {some(tops)}: these look like splits, but are not named so."
            f" {WANTED} Rename the folders to train, val and test."
        )
    for top, inner in _below(paths).items():
        splits = {resembles(name) for name in inner if name}
        if "train" in splits and len(splits - {None}) > 1:
            raise LatentlabError(
                f"{place}/{top} contains {some(sorted(inner - {''}))}, but other folders beside it"
                f" do not, or these names only resemble splits. {WANTED} Sort all images in one of"
                " these ways."
            )


def _refuse_masks(classes: Iterable[str], place: str) -> None:
    """Raise LatentlabError if the classes are `images` and `masks` or similar words."""
    names = sorted(set(classes))
    if are_images_and_masks(names):
        raise LatentlabError(
            f"{place} contains {some(names)}: these look like images and their masks, not like"
            " classes. Set data.folder to the folder of the images, or rename the folders if they"
            " are classes."
        )
