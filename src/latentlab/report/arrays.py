"""Read the files of arrays in results/<name>.

Without torch, and without NumPy before an array is used: `latentlab results` reads them too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.config.seeds import stage_of
from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]


def read_arrays(folder: Path, name: str = "images.npz") -> Arrays:
    """Read a file of arrays in results/<name>; empty without the file.

    Raises LatentlabError if the file is damaged.
    """
    path = folder / name
    if not path.exists():
        return {}
    import numpy as np

    with (
        damage_reported(path),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return {key: stored[key] for key in stored.files}


class StoredArrays(Mapping[str, "np.ndarray"]):
    """The arrays of a file in results/<name>, each read when it is used; empty without the file.

    Raises LatentlabError if the file is damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.names: list[str] = []
        self.loaded: Arrays = {}
        if self.path.exists():
            import zipfile

            with damage_reported(self.path), zipfile.ZipFile(self.path) as members:
                self.names = [member.removesuffix(".npy") for member in members.namelist()]

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self.names:
            raise KeyError(key)
        if key not in self.loaded:
            import numpy as np

            with damage_reported(self.path), np.load(self.path, allow_pickle=False) as stored:
                self.loaded[key] = stored[key]
        return self.loaded[key]

    def __contains__(self, key: object) -> bool:
        return key in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Raise LatentlabError that names the file and its stage, if the block cannot read it."""
    import zipfile

    try:
        yield
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise LatentlabError(
            f"{short(path)} cannot be shown: {error}: `dvc repro {stage_of_folder(path.parent)}`"
        ) from None


def short(path: Path) -> str:
    return "/".join(path.parts[-3:])


def stage_of_folder(folder: Path) -> str:
    """The stage that writes a folder of results/."""
    return "reference" if folder.name == "reference" else stage_of("evaluate", folder.name)
