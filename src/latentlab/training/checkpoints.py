"""Checkpoints that stay readable after a crash, a full disk or a power cut.

A checkpoint is written to the file `partial`, synced, read back, and renamed to
<step>-<digest>.ckpt. The newest two are kept. A damaged file does not match the digest (SHA-256) in
its name.
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

from latentlab.training.callbacks import MetricAccumulator
from latentlab.utils.files import flush, sync

NUM_KEPT = 2


class DamagedCheckpointError(Exception):
    """The content of a checkpoint does not match its name, or is no checkpoint."""


def list_checkpoints(work: Path) -> list[Path]:
    """Return the complete checkpoints in `work`, oldest first."""
    return sorted(work.glob("[0-9]*-*.ckpt"))


def write_checkpoint(folder: Path, step: int, content: dict[str, Any]) -> Path:
    """Write and verify the checkpoint of `step`, then delete the older ones but one.

    Raises OSError if the disk is full. The older checkpoints are then unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _signals_deferred():
        return _write(folder, step, content)


def _write(folder: Path, step: int, content: dict[str, Any]) -> Path:
    partial = folder / "partial"
    try:
        with _HashingWriter(io.FileIO(partial, "w")) as file:
            torch.save(content, file)
            file.flush()
            flush(file.fileno())
        digest = file.digest.hexdigest()
        if _digest(partial) != digest:
            raise OSError(f"{partial} has other content than was written")
        path = folder / f"{step:010d}-{digest[:16]}.ckpt"
        os.replace(partial, path)
        sync(folder)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for old in list_checkpoints(folder)[:-NUM_KEPT]:
        old.unlink()
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, read without pickle. Raises DamagedCheckpointError."""
    if not _digest(path).startswith(path.stem.partition("-")[2]):
        raise DamagedCheckpointError(f"{path} is damaged: its content does not match its name")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a file that is no checkpoint can raise any exception
        raise DamagedCheckpointError(f"{path} is damaged ({type(error).__name__})") from None


class PeriodicCheckpoint(Callback):
    """Write checkpoints during a training, into `folder`.

    A checkpoint is written after each validation. Inside an epoch, it is written where a window of
    the curves ends, if more than `every_seconds` have passed since the last one. At these steps
    the losses are known to be finite. Writing changes no number. `extra_state` returns what a
    checkpoint holds besides Lightning's state: the MLflow run id, the curves, the seconds.
    """

    def __init__(
        self,
        folder: Path,
        extra_state: Callable[[], dict[str, Any]],
        curves: MetricAccumulator,
        *,
        every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.extra_state, self.curves = folder, extra_state, curves
        self.every_seconds, self.clock = every_seconds, clock
        self.saved_at = clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.curves.window or batch_idx + 1 == trainer.num_training_batches:
            return  # on_train_epoch_end writes the checkpoint after the last batch
        due = self.clock() - self.saved_at >= self.every_seconds
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)  # the clocks of the processes differ
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
        checkpoint["latentlab"] = self.extra_state()


class VerifiedCheckpointIO(CheckpointIO):
    """Lightning's reader and writer of checkpoints. `path` is <folder>/<step>.

    If a checkpoint cannot be written, a warning is printed and the training continues.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        try:
            write_checkpoint(Path(path).parent, int(Path(path).name), checkpoint)
        except OSError as error:
            print(
                f"warning: the checkpoint at step {Path(path).name} cannot be written ({error})."
                " The checkpoint before it is kept",
                file=sys.stderr,
            )

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle SIGINT and SIGTERM after the block. Inside, torch.save would raise another error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, Any]] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda *call: received.append(call)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for call in received:
            signal.raise_signal(call[0])


class _HashingWriter(io.BufferedWriter):
    """A file that computes the SHA-256 of the bytes written to it."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return super().write(data)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
