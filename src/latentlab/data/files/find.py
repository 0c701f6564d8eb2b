"""The files of a folder or of an archive; listed once for several readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from latentlab.data.files.archive import open_archive
from latentlab.data.files.listing import ImageFiles, list_folder
from latentlab.utils.errors import LatentlabError

Known = dict[Path, ImageFiles | LatentlabError]
_known: ContextVar[Known | None] = ContextVar("_known", default=None)


def find_files(place: Path, scratch: Path) -> ImageFiles:
    """List the files of a folder, or of an archive. `scratch`: for an archive that is expanded.

    Raises:
        LatentlabError: there is nothing, or a file that is no archive or a damaged one.
    """
    known = _known.get()
    if known is None:
        return _listing(place, scratch)
    key = place.resolve()
    if key not in known:
        try:
            known[key] = _listing(place, scratch)
        except LatentlabError as error:
            known[key] = error
    found = known[key]
    if isinstance(found, LatentlabError):
        raise found
    return found


@contextmanager
def listed_once() -> Iterator[None]:
    """In this block, `find_files` lists each folder and archive once: a large archive is slow."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def _listing(place: Path, scratch: Path) -> ImageFiles:
    if place.is_dir():
        return list_folder(place)
    if place.is_file():
        return open_archive(place, scratch)
    raise LatentlabError(
        f"{place} is not a folder. Put your images there, with one sub-folder per class if "
        "there are classes, or set data.folder to your folder, or to a zip or tar of it."
    )
