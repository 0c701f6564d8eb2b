"""Checkpoints: verified, two are kept, and a damaged or foreign file is never loaded."""

import errno
import os
import signal
from pathlib import Path

import pytest
import torch

from latentlab.training import checkpoints as module
from latentlab.training.checkpoints import (
    DamagedCheckpointError,
    PeriodicCheckpoint,
    VerifiedCheckpointIO,
    list_checkpoints,
    read_checkpoint,
    write_checkpoint,
)


def content(step):
    return {"weights": torch.full((1000,), float(step))}


def steps(work):
    return [int(path.name[:10]) for path in sorted(work.iterdir())]


@pytest.fixture
def work(tmp_path):
    for step in (10, 20, 100):
        write_checkpoint(tmp_path / "work", step, content(step))
    return tmp_path / "work"


def test_written_checkpoint_is_read_back(work):
    newest = list_checkpoints(work)[-1]
    assert torch.equal(read_checkpoint(newest)["weights"], torch.full((1000,), 100.0))


def test_newest_two_are_kept_and_no_other_file(work):
    assert steps(work) == [20, 100]


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["pickle", "no archive"])
def test_other_file_with_a_valid_name_is_damaged(tmp_path, content):
    if content == "pickle":
        path = write_checkpoint(tmp_path, 1, {"x": Payload(tmp_path / "executed")})
    else:
        (tmp_path / "x").write_bytes(b"not a zip")
        name = f"{1:010d}-{module._digest(tmp_path / 'x')[:16]}.ckpt"
        path = (tmp_path / "x").rename(tmp_path / name)
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_checkpoint_that_reads_back_differently_replaces_none(work, monkeypatch):
    monkeypatch.setattr(module, "_digest", lambda path: "0" * 64)
    with pytest.raises(OSError, match="has other content than was written"):
        write_checkpoint(work, 200, content(200))
    assert steps(work) == [20, 100]


def test_full_disk_is_a_warning_and_keeps_the_old_checkpoints(work, monkeypatch, capsys):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    VerifiedCheckpointIO().save_checkpoint(content(200), work / "200")
    (line,) = capsys.readouterr().err.splitlines()
    assert "the checkpoint at step 200 cannot be written" in line
    assert "No space left" in line
    assert steps(work) == [20, 100]


def test_signal_is_handled_after_the_checkpoint(work, monkeypatch):
    save = torch.save

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        save(*args)

    monkeypatch.setattr(module.torch, "save", interrupted)
    # a test run in the background ignores SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(work, 200, content(200))
    finally:
        signal.signal(signal.SIGINT, before)
    newest = list_checkpoints(work)[-1]
    assert torch.equal(read_checkpoint(newest)["weights"], torch.full((1000,), 200.0))


class FakeTrainer:
    world_size, num_training_batches = 1, 9

    def __init__(self):
        self.saved = []
        self.fit_loop = self
        self.total_batch_idx = 0

    def save_checkpoint(self, path):
        self.saved.append(int(Path(path).name))


def test_checkpoint_inside_an_epoch_is_written_after_a_window(tmp_path):
    class Curves:
        window = ()

    curves, trainer, now = Curves(), FakeTrainer(), [0.0]
    callback = PeriodicCheckpoint(tmp_path, dict, curves, every_seconds=60, clock=lambda: now[0])
    for batch in range(9):  # windows of two steps, 25 s a step
        now[0] += 25
        trainer.total_batch_idx = batch
        curves.window = ("losses",) if batch % 2 == 0 else ()
        callback.on_train_batch_end(trainer, None, None, None, batch)
    assert trainer.saved == [4, 8]
