"""Find the checkpoint to resume from, and let only one training use a work folder at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latentlab.training.checkpoints import (
    DamagedCheckpointError,
    list_checkpoints,
    read_checkpoint,
)
from latentlab.utils.errors import LatentlabError
from latentlab.utils.launch import is_main_process

PACKAGE = Path(__file__).parents[1]
Row = tuple[str, str, int, float]  # split, quantity, training images so far, value


@dataclass(frozen=True)
class ResumePoint:
    """The newest good checkpoint of an unfinished training.

    path: the checkpoint. run_id: of the MLflow run. rows: the curves up to this point. seconds:
    the duration of the training up to this point.
    """

    path: Path
    run_id: str
    rows: list[Row]
    seconds: float = 0.0


def fingerprint(resolved: dict[str, Any], data_sha256: str) -> str:
    """SHA-256 of the configuration (without `evaluation`), the data and the code of latentlab."""
    training = {key: value for key, value in resolved.items() if key != "evaluation"}
    digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode())
    digest.update(data_sha256.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def work_folder(root: Path, name: str, fingerprint: str) -> Path:
    """Return the folder for the checkpoints of a training until it has finished."""
    return root / ".checkpoints" / name / fingerprint[:16]


def find_resume_point(work: Path) -> ResumePoint | None:
    """Return the newest good checkpoint in `work`; None if there is none.

    Prints one line for a damaged checkpoint, and one line if other work folders of this model have
    checkpoints: these belong to another configuration, data or code.
    """
    for older, path in reversed([*enumerate(list_checkpoints(work))]):
        try:
            state = read_checkpoint(path)["latentlab"]
        except DamagedCheckpointError as error:
            then = "The checkpoint before it is tried" if older else "No older checkpoint is left"
            print(f"{error}. {then}", file=sys.stderr)
            continue
        rows = [tuple(row) for row in state["rows"]]
        return ResumePoint(path, state["run_id"], rows, state["seconds"])
    siblings = work.parent.glob("*")
    others = [folder for folder in siblings if folder != work and list_checkpoints(folder)]
    if others:
        print(
            f"training starts from the beginning: {', '.join(sorted(map(str, others)))} belongs to"
            " another configuration, data or code, and is kept",
            file=sys.stderr,
        )
    return None


@contextmanager
def lock_work_folder(work: Path) -> Iterator[None]:
    """Hold a lock on `work` during a training. Raises LatentlabError if another training has it.

    The lock ends with the process, also if the process is killed. If a training has several
    processes, its main process holds the lock.
    """
    if not is_main_process():
        yield
        return
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LatentlabError(
            f"another process is training {work.parent.name} with the same configuration: wait"
            " until it has finished, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def remove_work_folder(work: Path) -> None:
    """Delete the checkpoints of a training that has finished."""
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # not empty: it holds checkpoints of another configuration
        work.parent.rmdir()
