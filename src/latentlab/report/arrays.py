"""Read the files of arrays in results/<name>. Without torch: `latentlab results` reads them too."""

from __future__ import annotations

import zipfile
import zlib
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

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise LatentlabError(
            f"{short(path)} cannot be shown: {error}: `dvc repro {stage_of_folder(folder)}`"
        ) from None


def short(path: Path) -> str:
    return "/".join(path.parts[-3:])


def stage_of_folder(folder: Path) -> str:
    """The stage that writes a folder of results/."""
    return "reference" if folder.name == "reference" else stage_of("evaluate", folder.name)
