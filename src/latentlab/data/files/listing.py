"""The files of a folder of images. Links are followed within limits; cycles end.

Files of file managers, photo programs and network storage are left out: hidden files, `Thumbs.db`,
the thumbnails in `@eaDir`, and others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

JUNK_FILES = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "zbthumbnail.info", "icon\r"),
}
JUNK_FOLDERS = {
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "@__thumb"),
    *("__macosx", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
}
JUNK_STARTS = (".", "synophoto_thumb_", "synophoto_film_", "synoindex_", "~$")
CACHE_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # a file in a cache of DVC


@dataclass(frozen=True)
class ImageFiles:
    """The files of a folder or of an archive.

    Attributes:
        place: the folder or the archive.
        names: sorted POSIX paths, relative to `place`.
        refused: {path: reason} of what is not read, such as links to another disk.
        open: name → a path, or the content in memory.
        linked: folders that are links out of `place`. They are read, but DVC does not look inside.
    """

    place: Path
    names: list[str]
    refused: dict[str, str]
    open: Callable[[str], Path | IO[bytes]]
    linked: tuple[str, ...] = ()


def image_names(names: Sequence[str]) -> list[str]:
    """The names with the extension of an image format."""
    from PIL import Image

    known = {*Image.registered_extensions(), ".fits", ".tiff", ".tif"}
    return [name for name in names if os.path.splitext(name)[1].lower() in known]


def evenly_spaced(names: list[str], most: int) -> list[str]:
    """Every n-th of the names: at most `most`, and all of them if there are not more."""
    return names[:: max(1, -(-len(names) // most))]


def is_junk(name: str) -> bool:
    """True for a file or folder of a file manager, a photo program or a network storage."""
    lower = name.lower()
    return lower.startswith(JUNK_STARTS) or lower in JUNK_FILES or lower in JUNK_FOLDERS


def list_folder(folder: Path) -> ImageFiles:
    """List all files below `folder`.

    A link to a file is followed to a cache of DVC, and everywhere on the device of the folder. A
    link to a folder is followed there too, unless this folder is read already or contains the link.
    Each folder is read once, so the walk ends.
    """
    walk = _Walk(folder.resolve())
    walk.run()
    return ImageFiles(
        folder,
        sorted(walk.names),
        walk.refused,
        lambda name: folder / name,
        tuple(sorted(walk.linked)),
    )


@dataclass
class _Walk:
    top: Path
    names: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    linked: list[str] = field(default_factory=list)
    seen: dict[Path, str] = field(default_factory=dict)  # folder → the name by which it was read

    def run(self) -> None:
        links = sorted(self._read(self.top, ""), reverse=True)
        while links:  # after all folders that are no links
            name = links.pop()
            target = Path(os.path.realpath(self.top / name))
            if target in self.seen:
                known = self.seen[target] or "the folder itself"
                self.refused[name] = f"a link to a folder that is read already: {known}"
            elif self.top.is_relative_to(target):
                self.refused[name] = "a link to a folder that contains it"
            elif _device(target) != _device(self.top):
                self.refused[name] = "a link that leaves the device of the folder"
            else:
                if not target.is_relative_to(self.top):
                    self.linked.append(name)
                links += sorted(self._read(target, name), reverse=True)

    def _read(self, folder: Path, name: str) -> list[str]:
        """Read a folder that is no link, and those below. Return the links to folders in it."""
        links, waiting = [], [(folder, name)]
        while waiting:
            folder, name = waiting.pop()
            if folder in self.seen:
                self.refused[name] = f"a folder that is read already: {self.seen[folder]}"
                continue
            self.seen[folder] = name
            for entry, inner in self._entries(folder, name):
                if not os.path.isdir(entry.path):  # False for a link to itself
                    self._add(entry, inner)
                elif entry.is_symlink():
                    links.append(inner)
                else:
                    waiting.append((Path(entry.path), inner))
        return links

    def _entries(self, folder: Path, name: str) -> list[tuple[os.DirEntry[str], str]]:
        """The entries of a folder and their names, without junk."""
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not is_junk(entry.name)]
        except OSError as error:
            self.refused[name] = error.strerror or str(error)
            return []
        return [(entry, f"{name}/{entry.name}" if name else entry.name) for entry in entries]

    def _add(self, entry: os.DirEntry[str], name: str) -> None:
        if entry.is_symlink() and (reason := self._link_problem(entry.path)):
            self.refused[name] = reason
        elif not entry.is_file():  # reading a pipe would never end
            self.refused[name] = "not a regular file"
        else:
            self.names.append(name)

    def _link_problem(self, path: str) -> str:
        target = Path(os.path.realpath(path))
        if not os.path.exists(target):
            return "a link to nothing"
        allowed = (
            target.is_relative_to(self.top)
            or CACHE_OBJECT.search(target.as_posix())
            or _device(target) == _device(self.top)
        )
        return "" if allowed else "a link that leaves the device of the folder"


def _device(path: Path) -> int:
    return path.stat().st_dev
