"""The way back into a training: which one it is, where it stood, and that nobody else is at it."""

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

from latentlab.contracts import LatentlabError
from latentlab.launcher import is_main_process
from latentlab.training.checkpoints import DamagedError, checkpoints, read

PACKAGE = Path(__file__).parents[1]
Row = tuple[str, str, int, float]  # split, quantity, images seen, value


@dataclass(frozen=True)
class Resume:
    """The last good state of an unfinished training: its file, MLflow run and curves so far.

    `seconds` is what the training had taken up to there.
    """

    path: Path
    run_id: str
    rows: list[Row]
    seconds: float = 0.0


def fingerprint(resolved: dict[str, Any], data_sha256: str) -> str:
    """SHA-256 over configuration, data and this package's code: one for each training."""
    training = {key: value for key, value in resolved.items() if key != "evaluation"}
    digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode())
    digest.update(data_sha256.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def work_folder(root: Path, name: str, identity: str) -> Path:
    """Where the checkpoints of the training with this fingerprint live until it has finished."""
    return root / ".checkpoints" / name / identity[:16]


def resumable(work: Path) -> Resume | None:
    """The newest good checkpoint in `work`; None if there is none.

    Says in one line each: a damaged checkpoint that it passes over, and the unfinished training of
    another configuration, data or code that lies beside `work` and is not resumed.
    """
    for path in reversed(checkpoints(work)):
        try:
            facts = read(path)["latentlab"]
        except DamagedError as error:
            print(f"{error}: using the one before, if any", file=sys.stderr)
            continue
        rows = [tuple(row) for row in facts["rows"]]
        return Resume(path, facts["run_id"], rows, facts["seconds"])
    others = [folder for folder in work.parent.glob("*") if folder != work and checkpoints(folder)]
    if others:
        kept = ", ".join(sorted(map(str, others)))
        print(
            f"starting anew: {kept} is of another configuration, data or code"
            " (it stays, should you go back)",
            file=sys.stderr,
        )
    return None


@contextmanager
def sole(work: Path) -> Iterator[None]:
    """Be the only training that keeps its checkpoints in `work`. Raises LatentlabError if not.

    The lock goes with the process, however that ends. Of several processes of one training the
    main one holds it.
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
            f"another process trains {work.parent.name} with this very configuration: wait for"
            " its end, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def clear(work: Path) -> None:
    """Forget the checkpoints of a training that has finished."""
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # another training's, of another configuration
        work.parent.rmdir()
