"""The folder of a new project: written completely, or removed again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentlab.utils.errors import LatentlabError


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Raise LatentlabError that names `folder` if the block cannot write it; remove it if new."""
    was_there = folder.exists()
    try:
        yield
    except OSError as error:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        left = " Files of the project are left in it: remove them." if was_there else ""
        raise LatentlabError(
            f"{folder} cannot be written ({error.strerror or error}).{left} Free disk space, or"
            " choose another folder"
        ) from error
