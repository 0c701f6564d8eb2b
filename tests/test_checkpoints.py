"""Checkpoints: verified, two at a time, and none of another training or of damaged content."""

import errno
import os
import signal
from pathlib import Path

import pytest
import torch

from latentlab.contracts import LatentlabError
from latentlab.training import checkpoints as module
from latentlab.training.checkpoints import (
    Checkpoints,
    DamagedError,
    VerifiedIO,
    checkpoints,
    read,
    write,
)
from latentlab.training.resume import resumable, sole, work_folder


def content(step):
    facts = {"run_id": "r", "rows": [["val", "loss", step, 0.5]], "seconds": 1.5 * step}
    return {"latentlab": facts, "weights": torch.full((1000,), float(step))}


@pytest.fixture
def work(tmp_path):
    folder = work_folder(tmp_path, "vae", "a" * 64)
    for step in (10, 20, 100):
        write(folder, step, content(step))
    return folder


def test_what_is_written_is_read_back(work):
    newest = checkpoints(work)[-1]
    assert torch.equal(read(newest)["weights"], torch.full((1000,), 100.0))
    found = resumable(work)
    assert (found.path, found.run_id, found.rows) == (newest, "r", [("val", "loss", 100, 0.5)])
    assert found.seconds == 150


def test_the_last_two_are_kept_and_nothing_else_lies_about(work):
    assert [int(p.name[:10]) for p in sorted(work.iterdir())] == [20, 100]


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("damage", ["cut", "emptied", "one bit"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(work, capsys, damage):
    before, newest = checkpoints(work)
    data = bytearray(newest.read_bytes())
    data[2000] ^= 1
    newest.write_bytes({"cut": data[:1500], "emptied": b"", "one bit": data}[damage])
    assert resumable(work).path == before
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{newest} is damaged (its content does not match its name)" in line
    before.write_bytes(b"")
    assert resumable(work) is None


@pytest.mark.parametrize("kind", ["pickle", "foreign"])
def test_a_well_named_file_that_is_no_checkpoint_is_damaged_too(tmp_path, kind):
    foreign = {"pickle": {"x": Payload(tmp_path / "executed")}, "foreign": None}[kind]
    if foreign is None:
        (tmp_path / "x").write_bytes(b"not a zip")
        name = f"{1:010d}-{module._digest(tmp_path / 'x')[:16]}.ckpt"
        path = (tmp_path / "x").rename(tmp_path / name)
    else:
        path = write(tmp_path, 1, foreign)
    with pytest.raises(DamagedError, match="is damaged"):
        read(path)
    assert not (tmp_path / "executed").exists()


def test_another_training_is_left_alone_and_said_in_one_line(work, tmp_path, capsys):
    other = work_folder(tmp_path, "vae", "b" * 64)
    assert resumable(other) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"starting anew: {work} is of another configuration, data or code")
    assert len(checkpoints(work)) == 2
    assert resumable(work_folder(tmp_path, "dcgan", "b" * 64)) is None
    assert capsys.readouterr().err == ""


def test_what_reads_back_differently_never_replaces_a_good_one(work, monkeypatch):
    monkeypatch.setattr(module, "_digest", lambda path: "0" * 64)
    with pytest.raises(OSError, match="reads back differently"):
        write(work, 200, content(200))
    assert [int(p.name[:10]) for p in sorted(work.iterdir())] == [20, 100]


def test_a_full_disk_costs_a_warning_and_keeps_the_one_before(work, monkeypatch, capsys):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    VerifiedIO().save_checkpoint(content(200), work / "200")
    (line,) = capsys.readouterr().err.splitlines()
    assert "no checkpoint at step 200, the one before stays" in line
    assert "No space left" in line
    assert [int(p.name[:10]) for p in sorted(work.iterdir())] == [20, 100]


def test_a_signal_waits_until_the_checkpoint_is_whole(work, monkeypatch):
    save = torch.save

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        save(*args)

    monkeypatch.setattr(module.torch, "save", interrupted)
    # a suite run in the background ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write(work, 200, content(200))
    finally:
        signal.signal(signal.SIGINT, before)
    assert torch.equal(read(checkpoints(work)[-1])["weights"], torch.full((1000,), 200.0))


def test_a_training_has_its_checkpoints_for_itself(work):
    with sole(work):
        refused = pytest.raises(LatentlabError, match="another process trains vae with this very")
        with refused, sole(work):
            pass
        assert len(checkpoints(work)) == 2
    with sole(work):
        pass


class FakeTrainer:
    world_size, num_training_batches = 1, 9

    def __init__(self):
        self.saved = []
        self.fit_loop = self
        self.total_batch_idx = 0

    def save_checkpoint(self, path):
        self.saved.append(int(Path(path).name))


def test_inside_an_epoch_time_decides_but_only_where_a_window_ends(tmp_path):
    class Window:
        window = ()

    curves, trainer, now = Window(), FakeTrainer(), [0.0]
    keeper = Checkpoints(tmp_path, dict, curves, every_seconds=60, clock=lambda: now[0])
    for batch in range(9):  # windows of two steps, 25 s a step
        now[0] += 25
        trainer.total_batch_idx = batch
        curves.window = ("losses",) if batch % 2 == 0 else ()
        keeper.on_train_batch_end(trainer, None, None, None, batch)
    assert trainer.saved == [4, 8]
