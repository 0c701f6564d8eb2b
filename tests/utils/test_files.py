"""Folders and files appear complete or not at all."""

import errno
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from latentlab.utils import files
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import (
    disk_errors_reported,
    fresh_folder,
    write_arrays,
    write_atomic,
    write_json,
)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_new_folder_replaces_the_old_one(tmp_path):
    folder = tmp_path / "runs" / "vae"
    with fresh_folder(folder) as fresh:
        (fresh / "a").write_text("1")
        assert not folder.exists(), "the folder does not exist before the end of the block"
    with fresh_folder(folder) as fresh:
        assert names(fresh) == [], "the new folder starts empty"
        (fresh / "sub").mkdir()
        (fresh / "sub" / "b").write_text("2")
        assert (folder / "a").read_text() == "1"
    assert names(tmp_path) == ["runs", "runs/vae", "runs/vae/sub", "runs/vae/sub/b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_error_in_the_block_keeps_the_old_folder(tmp_path, error):
    folder = tmp_path / "vae"
    with fresh_folder(folder) as fresh:
        (fresh / "a").write_text("old")
    with pytest.raises(error), fresh_folder(folder) as fresh:  # noqa: PT012
        (fresh / "a").write_text("half of the new")
        raise error
    assert names(tmp_path) == ["vae", "vae/a"]
    assert (folder / "a").read_text() == "old"


def test_files_of_a_killed_process_are_deleted(tmp_path):
    (tmp_path / ".vae.partial").mkdir()
    (tmp_path / ".vae.partial" / "half").write_text("x")
    with fresh_folder(tmp_path / "vae") as fresh:
        (fresh / "a").write_text("1")
    assert names(tmp_path) == ["vae", "vae/a"]


def test_json_is_read_back(tmp_path):
    content = {"fid": 0.1 + 0.2, "name": "µ", "none": None, "nested": {"n": [1, 2]}}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content, "float64 is exact"
    assert text.endswith("}\n")


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_atomic(path, b"old")

    def refuse(*_):
        raise OSError("disk is gone")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_found_behind_the_error_of_torch_save():
    with (
        pytest.raises(LatentlabError, match=r"full cannot be written \(No space left on device\)"),
        disk_errors_reported(Path("/dev/full")),
        open("/dev/full", "wb") as file,
    ):
        torch.save({"a": torch.zeros(100_000)}, file)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG])
def test_folder_on_a_full_or_read_only_disk_is_unchanged(tmp_path, number):
    with fresh_folder(tmp_path / "vae") as fresh:
        (fresh / "a").write_text("old")
    message = rf"vae cannot be written \({os.strerror(number)}\)"
    with pytest.raises(LatentlabError, match=message), fresh_folder(tmp_path / "vae") as fresh:
        raise OSError(number, os.strerror(number))
    assert contents(tmp_path) == {"vae/a": b"old"}


def test_other_errors_are_not_reported_as_disk_errors(tmp_path):
    with pytest.raises(FileNotFoundError), fresh_folder(tmp_path / "vae"):
        (tmp_path / "absent").read_text()
    with pytest.raises(PermissionError), fresh_folder(tmp_path / "vae"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/photo.png")


def test_failed_rename_restores_the_old_folder(tmp_path, monkeypatch):
    with fresh_folder(tmp_path / "vae") as fresh:
        (fresh / "a").write_text("old")
    rename = os.replace

    def refuse(source, target):
        if str(source).endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"), fresh_folder(tmp_path / "vae") as fresh:
        (fresh / "a").write_text("new")
    assert contents(tmp_path) == {"vae/a": b"old"}


WRITER = """
import sys, time
from pathlib import Path
from latentlab.utils.files import fresh_folder
for _ in range(15):
    with fresh_folder(Path("runs/vae")) as fresh:
        for part in range(5):
            (fresh / str(part)).write_text(sys.argv[1])
            time.sleep(0.001)
"""


def test_two_writers_of_one_folder_do_not_mix(project):
    """Each writer waits for the other. A reader finds complete files, or none for an instant."""
    writers = [project.start(sys.executable, "-c", WRITER, name) for name in "ab"]
    folder, found = project.root / "runs" / "vae", set()
    while any(process.poll() is None for process in writers):
        try:
            found |= {(folder / str(part)).read_text() for part in range(5)}
        except OSError:  # it is being replaced
            continue
    for process in writers:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    last = "".join((folder / str(part)).read_text() for part in range(5))
    assert last in {"aaaaa", "bbbbb"}
    assert found <= {"a", "b"}
    assert sorted(p.name for p in folder.parent.iterdir()) == ["vae"]


def test_second_writer_waits_for_the_first(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with fresh_folder(tmp_path / "vae") as fresh:
            order.append("second")
            (fresh / "a").write_text("second")

    thread = threading.Thread(target=second)
    thread.start()
    with fresh_folder(tmp_path / "vae") as fresh:
        inside.set()
        time.sleep(0.1)
        order.append("first")
        (fresh / "a").write_text("first")
    thread.join()
    assert order == ["first", "second"]
    assert contents(tmp_path) == {"vae/a": b"second"}


def test_killed_writer_keeps_the_old_folder_and_leaves_no_lock(project):
    code = WRITER.replace("for part", 'print("in", flush=True)\n        for part')
    code = code.replace("0.001", "60")
    with fresh_folder(project.root / "runs" / "vae") as fresh:
        (fresh / "a").write_text("old")
    process = project.start(sys.executable, "-c", code, "x")
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    process.kill()
    process.communicate()
    assert (project.root / "runs" / "vae" / "a").read_text() == "old"
    with fresh_folder(project.root / "runs" / "vae") as fresh:
        (fresh / "a").write_text("new")
    assert contents(project.root / "runs") == {"vae/a": b"new"}


def test_equal_arrays_give_equal_bytes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {"b": rng.integers(0, 9, (20, 8, 8, 1), np.uint8), "a": np.ones(3, np.float32)}
    write_arrays(tmp_path / "one.npz", arrays)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    write_arrays(tmp_path / "two.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "two.npz", allow_pickle=False) as again:
        assert set(again) == set(arrays)
        assert all((again[name] == arrays[name]).all() for name in arrays)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize("only", [stat.S_ISDIR, lambda mode: True], ids=["folders", "all"])
def test_a_file_system_that_syncs_nothing_is_no_error(tmp_path, monkeypatch, code, only):
    """Some network shares answer so for folders."""
    real = os.fsync

    def fsync(handle):
        if only(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with fresh_folder(tmp_path / "runs" / "vae") as fresh:
        (fresh / "a").write_text("1")
    write_atomic(tmp_path / "b", b"2")
    assert contents(tmp_path) == {"runs/vae/a": b"1", "b": b"2"}


def test_a_disk_that_fails_while_it_syncs_is_an_error(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomic(tmp_path / "b", b"2")
    assert contents(tmp_path) == {}
