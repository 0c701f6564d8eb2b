"""Checkpoints one can trust a week of training with.

A checkpoint is written aside, synced, read back and only then renamed to <step>-<digest>.ckpt; the
one before stays. The digest in the name tells a damaged file from a good one, whatever damaged it.
"""

from __future__ import annotations

import hashlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.io import CheckpointIO

from latentlab.files import sync
from latentlab.training.callbacks import Curves

KEPT = 2


def checkpoints(work: Path) -> list[Path]:
    """The finished checkpoints in `work`, oldest first."""
    return sorted(work.glob("[0-9]*-*.ckpt"))


class DamagedError(Exception):
    """A checkpoint whose content is not what its name promises."""


def write(folder: Path, step: int, content: dict[str, Any]) -> Path:
    """Store `content` as the checkpoint of `step`; older ones go only when it has been verified.

    Raises OSError, with the older checkpoints untouched, if the disk does not take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _undisturbed():
        return _write(folder, step, content)


def _write(folder: Path, step: int, content: dict[str, Any]) -> Path:
    fresh = folder / "partial"
    try:
        with _Digesting(io.FileIO(fresh, "w")) as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        digest = file.digest.hexdigest()
        if _digest(fresh) != digest:
            raise OSError(f"{fresh} reads back differently from what was written")
        path = folder / f"{step:010d}-{digest[:16]}.ckpt"
        os.replace(fresh, path)
        sync(folder)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
    return path


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's content; nothing in it is unpickled. Raises DamagedError."""
    if not _digest(path).startswith(path.stem.partition("-")[2]):
        raise DamagedError(f"{path} is damaged (its content does not match its name)")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a foreign file fails in many ways; none may stop a training
        raise DamagedError(f"{path} is damaged ({type(error).__name__})") from None


class Checkpoints(Callback):
    """Keep the last good states of a training in `folder`.

    Saved after each validation and, inside an epoch, where a window of the curves ends and more
    than `every_seconds` passed since the last one: always at a step whose losses are known to be
    finite, and never at one that changes a number. `facts` (the MLflow run, the curves) go along.
    """

    def __init__(
        self,
        folder: Path,
        facts: Callable[[], dict[str, Any]],
        curves: Curves,
        *,
        every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.facts, self.curves = folder, facts, curves
        self.every_seconds, self.clock = every_seconds, clock
        self.saved_at = clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.curves.window or batch_idx + 1 == trainer.num_training_batches:
            return  # the end of an epoch has its own hook
        due = self.clock() - self.saved_at >= self.every_seconds
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)  # the processes' clocks differ
        if due:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0:
            self.curves.flush(trainer.fit_loop.total_batch_idx + 1)
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.folder / str(trainer.fit_loop.total_batch_idx + 1))
        self.saved_at = self.clock()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["latentlab"] = self.facts()


class VerifiedIO(CheckpointIO):
    """How Lightning writes and reads checkpoints here: `path` names the folder and the step.

    A disk that does not take a checkpoint costs a warning, not the training.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        try:
            write(Path(path).parent, int(Path(path).name), checkpoint)
        except OSError as error:
            print(
                f"warning: no checkpoint at step {Path(path).name}, the one before stays ({error})",
                file=sys.stderr,
            )

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the block's end: torch.save would report another error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, Any]] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda *call: waiting.append(call)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for caught, _ in waiting:
            signal.raise_signal(caught)


class _Digesting(io.BufferedWriter):
    """A file that computes the SHA-256 of what is written to it."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return super().write(data)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
