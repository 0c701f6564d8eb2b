"""Folders appear whole or not at all."""

import json

import pytest

from latentlab import files
from latentlab.files import fresh_folder, write_atomic, write_json


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_new_folder_takes_the_place_of_the_old_one(tmp_path):
    folder = tmp_path / "runs" / "vae"
    with fresh_folder(folder) as fresh:
        (fresh / "a").write_text("1")
        assert not folder.exists(), "nothing looks finished before it is"
    with fresh_folder(folder) as fresh:
        assert names(fresh) == [], "nothing of the old one is taken over"
        (fresh / "sub").mkdir()
        (fresh / "sub" / "b").write_text("2")
        assert (folder / "a").read_text() == "1"
    assert names(tmp_path) == ["runs", "runs/vae", "runs/vae/sub", "runs/vae/sub/b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_inside_leaves_the_old_folder_and_no_rest(tmp_path, error):
    folder = tmp_path / "vae"
    with fresh_folder(folder) as fresh:
        (fresh / "a").write_text("old")
    with pytest.raises(error), fresh_folder(folder) as fresh:  # noqa: PT012
        (fresh / "a").write_text("half of the new")
        raise error
    assert names(tmp_path) == ["vae", "vae/a"]
    assert (folder / "a").read_text() == "old"


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    (tmp_path / ".vae.partial").mkdir()
    (tmp_path / ".vae.partial" / "half").write_text("x")
    with fresh_folder(tmp_path / "vae") as fresh:
        (fresh / "a").write_text("1")
    assert names(tmp_path) == ["vae", "vae/a"]


def test_json_reads_back(tmp_path):
    content = {"fid": 0.1 + 0.2, "name": "µ", "none": None, "nested": {"n": [1, 2]}}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content, "float64 survives to the last bit"
    assert text.endswith("}\n")


def test_a_failed_write_keeps_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_atomic(path, b"old")

    def refuse(*_):
        raise OSError("disk is gone")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
