"""Nothing to do, and no file has changed since DVC said so: the answer is the same.

Asking DVC takes a time that grows with the number of stages. When DVC finds no changed stage, the
times, sizes and inode numbers of all that it has looked at are stored: files and folders that a
stage reads or writes, their copies in the cache of DVC, dvc.yaml, dvc.lock, parameters, settings of
DVC, and all folders in which another dvc.yaml could appear. DVC itself takes a file with the same
time, size and inode number for the same content. Any difference, also a missing file, means that
DVC is asked again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from latentlab.utils.files import write_atomic

PLACE = Path(".checkpoints") / "repro" / "unchanged.json"
MARGIN = 2.0  # seconds: a file that is newer could change again within one tick of its clock
STARTED = time.time() - time.process_time()  # before this process has read a file of the project
Marks = dict[str, list[int] | None]


def read_unchanged(root: Path) -> dict[str, list[str]] | None:
    """Return the needs of all stages if nothing has changed; None if DVC has to be asked."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads((root / PLACE).read_bytes())
        if stored["setup"] == _setup() and marks(stored["marks"]) == stored["marks"]:
            return dict(stored["needs"])
    return None


def store_unchanged(root: Path, needs: dict[str, list[str]], paths: Iterable[str]) -> None:
    """Store that nothing is to be done. `paths`: all that was looked at, absolute.

    Nothing is stored if a file is so new that it may have changed since it was looked at.
    """
    found = marks(paths)
    newest = max((max(mark[0], mark[1]) for mark in found.values() if mark), default=0)
    if newest > (STARTED - MARGIN) * 1e9:
        return
    content = {"setup": _setup(), "needs": needs, "marks": found}
    with contextlib.suppress(OSError):  # a full disk is no error here
        (root / PLACE).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(root / PLACE, json.dumps(content).encode())


def marks(paths: Iterable[str]) -> Marks:
    """Return path → [time of content, time of status, bytes, inode]; None without such a file."""
    found: Marks = {}
    for path in paths:
        try:
            state = os.stat(path)
        except OSError:
            found[path] = None
        else:
            # the size of a folder has no meaning: a change of its entries changes its times
            found[path] = [state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino]
    return found


def everything_in(path: str) -> Iterator[str]:
    """Yield a file or folder, and all below it. Links are followed."""
    yield path
    for folder, folders, files in os.walk(path, followlinks=True):
        yield from (os.path.join(folder, name) for name in (*folders, *files))


def _setup() -> dict[str, Any]:
    """What decides about DVC's answer besides files: its version, and its variables."""
    from importlib.metadata import version

    variables = {key: value for key, value in os.environ.items() if key.startswith("DVC_")}
    return {"dvc": version("dvc"), "variables": variables}
