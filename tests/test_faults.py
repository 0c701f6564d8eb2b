"""Faults of docs/reliability.md: a full or read-only disk, strange names, damaged results."""

from __future__ import annotations

import csv
import errno
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

import latentlab
from latentlab.cli import main
from latentlab.contracts import LatentlabError
from latentlab.files import fresh_folder, write_atomic
from latentlab.report.page import page
from latentlab.report.results import read_results, results_csv
from latentlab.runs import fill
from latentlab.stages.__main__ import run as entry

REPO = Path(__file__).resolve().parents[1]
MODELS = ("linear_ae", "vae", "dcgan")
HOSTILE = """<img src=x onerror="alert('1')">&"""


def called(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def tmpfs(tmp_path):
    """Mount a file system of `size` bytes on a folder; `options` are those of mount."""
    mounted = []

    def mount(folder, size):
        folder.mkdir(parents=True, exist_ok=True)
        made = called("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
        if made.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        called("umount", "-l", str(folder))


def read_only(folder):
    assert called("mount", "-o", "remount,ro", str(folder)).returncode == 0


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def exit_code(action):
    with pytest.raises(SystemExit) as stopped:
        entry(action)
    return stopped.value.code


# --- the disk ---


def test_a_full_disk_at_write_run_keeps_the_old_run(fork, tmpfs, capsys):
    """The real stage: the training ends, its weights do not fit."""
    runs = fork.root / "runs"
    saved = files(runs / "linear_ae")
    shutil.rmtree(runs)
    tmpfs(runs, sum(map(len, saved.values())) + 40_000)
    for name, content in saved.items():
        write_atomic(runs / "linear_ae" / name, content)
    fork.edit("configs/linear_ae.yaml", trainer__images=2000)
    assert exit_code(lambda: fork.stage("train", "linear_ae")) == 2
    told = capsys.readouterr().err
    assert re.search(r"error: .*runs/linear_ae cannot be written \(No space left on device\)", told)
    assert files(runs) == {f"linear_ae/{name}": content for name, content in saved.items()}


def test_a_full_disk_at_report_keeps_the_old_page(fork, tmpfs, capsys):
    reports = fork.root / "reports"
    tmpfs(reports, 65_536)
    write_atomic(reports / "index.html", b"the page of yesterday")
    assert exit_code(lambda: fork.stage("report")) == 2
    told = capsys.readouterr().err
    assert re.search(r"error: .*index.html cannot be written \(No space left on device\)", told)
    assert (reports / "index.html").read_bytes() == b"the page of yesterday"
    assert not [p for p in reports.iterdir() if p.name.endswith(".tmp")]


def test_a_full_disk_says_so_without_a_mount():
    """As far as /dev/full goes: the error that torch.save hides is found behind its own."""
    from latentlab.files import writing

    with (
        pytest.raises(LatentlabError, match=r"full cannot be written \(No space left on device\)"),
        writing(Path("/dev/full")),
        open("/dev/full", "wb") as file,
    ):
        torch.save({"a": torch.zeros(100_000)}, file)


def test_a_read_only_folder(fork, tmpfs, capsys, monkeypatch):
    reports = fork.root / "reports"
    tmpfs(reports, 10**6)
    write_atomic(reports / "index.html", b"old")
    read_only(reports)
    assert exit_code(lambda: fork.stage("report")) == 2
    assert "results.csv cannot be written (Read-only file system)" in capsys.readouterr().err
    monkeypatch.chdir(fork.root)
    for command in (["sample", "vae"], ["encode", "vae", str(fork.root / "x.png")]):
        Image.new("L", (8, 8)).save(fork.root / "x.png")
        with pytest.raises(SystemExit) as stopped:
            main([*command, "-o", str(reports / "out")])
        assert stopped.value.code == 2
        assert "out cannot be written (Read-only file system)" in capsys.readouterr().err
    assert files(reports) == {"index.html": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG])
def test_a_folder_that_cannot_be_written_stays(tmp_path, number):
    with fresh_folder(tmp_path / "vae") as fresh:
        (fresh / "a").write_text("old")
    message = rf"vae cannot be written \({os.strerror(number)}\)"
    with pytest.raises(LatentlabError, match=message), fresh_folder(tmp_path / "vae") as fresh:
        raise OSError(number, os.strerror(number))
    assert files(tmp_path) == {"vae/a": b"old"}


def test_a_missing_source_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), fresh_folder(tmp_path / "vae"):
        (tmp_path / "absent").read_text()
    with pytest.raises(PermissionError), fresh_folder(tmp_path / "vae"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/photo.png")


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
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
    assert files(tmp_path) == {"vae/a": b"old"}


WRITER = """
import sys, time, types
from pathlib import Path
contracts = types.ModuleType("latentlab.contracts")  # without torch a process starts at once
contracts.LatentlabError = Exception
sys.modules["latentlab.contracts"] = contracts
from latentlab.files import fresh_folder
for turn in range(15):
    with fresh_folder(Path("runs/vae")) as fresh:
        for part in range(5):
            (fresh / str(part)).write_text(sys.argv[1])
            time.sleep(0.001)
"""


def test_two_processes_that_write_the_same_run_never_mix(project):
    """Each waits for the other; a reader finds one of the two, whole, or for an instant none."""
    both = [project.start(sys.executable, "-c", WRITER, name) for name in "ab"]
    folder, seen = project.root / "runs" / "vae", set()
    while any(process.poll() is None for process in both):
        try:
            seen.add("".join((folder / str(part)).read_text() for part in range(5)))
        except OSError:  # just then replaced
            continue
    for process in both:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    last = "".join((folder / str(part)).read_text() for part in range(5))
    assert last in {"aaaaa", "bbbbb"}
    assert sorted(p.name for p in folder.parent.iterdir()) == ["vae"]


def test_the_second_writer_waits_for_the_first(tmp_path):
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
    assert files(tmp_path) == {"vae/a": b"second"}


def test_a_killed_writer_leaves_the_old_folder_and_no_lock(project):
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
    assert files(project.root / "runs") == {"vae/a": b"new"}


# --- weights ---


class Payload:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_payload_runs_nowhere(fork, tmp_path, capsys):
    """Neither in load, nor in the CLI, nor in the stage evaluate."""
    trace = tmp_path / "executed"
    torch.save({"encoder.0.weight": Payload(trace)}, fork.root / "runs" / "vae" / "weights.pt")
    message = r"weights.pt does not hold this model's weights"
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("vae", project=fork.root)
    with pytest.raises(SystemExit) as stopped:
        main(["sample", "vae", "--project", str(fork.root)])
    assert stopped.value.code == 2
    assert exit_code(lambda: fork.stage("evaluate", "vae")) == 2
    assert len(re.findall(message, capsys.readouterr().err)) == 2
    assert not trace.exists()


def test_weights_cut_anywhere_are_refused(tmp_path):
    module = nn.Linear(30, 30)
    whole = tmp_path / "whole.pt"
    torch.save(module.state_dict(), whole)
    content = whole.read_bytes()
    for length in [0, 1, 3, 4, 100, *range(200, len(content), 97), len(content) - 1]:
        (tmp_path / "weights.pt").write_bytes(content[:length])
        with pytest.raises(LatentlabError, match=r"weights.pt does not hold this model's weights"):
            fill(module, tmp_path / "weights.pt")
    fill(module, whole)


def test_weights_that_claim_more_than_they_hold(tmp_path):
    module, path = nn.Linear(3, 3), tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(LatentlabError, match=r"claims 1,000,000,000,000 numbers"):
        fill(module, path)
    torch.save(module.state_dict(), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part) + b"\0" * 100_000)
    with pytest.raises(LatentlabError, match=r"it is compressed, which weights never are"):
        fill(module, path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "5", "{}", '{"facts": 5}', '{"facts": {"image_shape": 5}}', "[" * 100_000],
)
def test_a_damaged_description_of_a_run(tiny, tmp_path, content):
    folder = shutil.copytree(tiny.root / "runs" / "vae", tmp_path / "vae")
    (folder / "experiment.json").write_text(content)
    with pytest.raises(LatentlabError, match=r"is not a complete run folder"):
        latentlab.load(folder)


# --- results and the page ---


def results_of(project):
    models = dict.fromkeys(MODELS, "x")
    data = SimpleNamespace(name="digits")
    return read_results(
        SimpleNamespace(root=project.root, seed=0, data=data, models=models, tasks={})
    )


@pytest.mark.parametrize("name", ["metrics.json", "card.json", "cost.json"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_results_name_the_file_and_the_command(fork, capsys, name, keep):
    path = fork.root / "results" / "vae" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert exit_code(lambda: fork.stage("report")) == 2
    told = capsys.readouterr().err
    assert re.search(rf"results/vae/{name} is not readable JSON .* `dvc repro evaluate@vae`", told)
    with pytest.raises(SystemExit) as stopped:
        main(["results", "--project", str(fork.root)])
    assert stopped.value.code == 2
    assert f"results/vae/{name}" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 20, 60, 300])
@pytest.mark.parametrize(
    ("file", "stage"), [("vae/map.png", "evaluate@vae"), ("reference/originals.png", "reference")]
)
def test_a_truncated_picture_names_the_file_and_the_command(fork, file, stage, keep):
    path = fork.root / "results" / file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        LatentlabError, match=rf"results/{file} cannot be shown.*`dvc repro {stage}`"
    ):
        page(results_of(fork))


def test_names_from_outside_are_text_on_the_page(fork):
    """Of models, classes (sub-folders), families, samplers and quantities."""
    root = fork.root / "results"
    name = HOSTILE.replace("/", "")
    (root / "vae").rename(root / name)
    card = json.loads((root / name / "card.json").read_text())
    for key in ("title", "family", "sampler", "idea", "objective", "paper", "device"):
        card[key] = f"{key} {HOSTILE}"
    card["config"] = {HOSTILE: HOSTILE}
    (root / name / "card.json").write_text(json.dumps(card))
    metrics = json.loads((root / name / "metrics.json").read_text())
    (root / name / "metrics.json").write_text(json.dumps(metrics | {HOSTILE: 1.0}))
    history = (root / name / "history.csv").read_text().replace("elbo_nats", '"<script>1</script>"')
    (root / name / "history.csv").write_text(history)
    reference = json.loads((root / "reference" / "card.json").read_text())
    reference |= {"classes": [HOSTILE, "a\nb", 'q"uote', "é🙂"], "data": HOSTILE, "features": None}
    (root / "reference" / "card.json").write_text(json.dumps(reference))
    models = {name: "x", "dcgan": "x"}
    data = SimpleNamespace(name="digits")
    shown = page(
        read_results(SimpleNamespace(root=fork.root, seed=0, data=data, models=models, tasks={}))
    )
    assert "<img src=x" not in shown
    assert shown.count("<script") == 1
    assert shown.count(html.escape(HOSTILE)) > 10
    assert "é🙂" in shown
    assert "q&quot;uote" in shown


def test_a_cell_of_the_csv_is_never_a_formula(fork):
    root = fork.root / "results"
    (root / "vae").rename(root / "=cmd|' -C calc'!A0")
    card = json.loads((root / "=cmd|' -C calc'!A0" / "card.json").read_text())
    (root / "=cmd|' -C calc'!A0" / "card.json").write_text(
        json.dumps(card | {"family": "+1+1", "features": None})
    )
    data = SimpleNamespace(name="digits")
    models = {"=cmd|' -C calc'!A0": "x"}
    text = results_csv(
        read_results(SimpleNamespace(root=fork.root, seed=0, data=data, models=models, tasks={}))
    )
    rows = list(csv.DictReader(text.splitlines()))
    assert rows[0]["model"] == "'=cmd|' -C calc'!A0"
    assert rows[0]["family"] == "'+1+1"
    assert float(rows[0]["elbo_nats"]) < 0, "a negative number stays a number"


# --- the command line ---


def test_file_names_with_newlines_quotes_and_broken_letters(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tiny.root)
    names = [b"a\nb.png", b"q'u\"o.png", "é🙂.png".encode(), b"\xff.png"]
    for number, name in enumerate(names):
        Image.new("L", (8, 8), 40 * number).save(tmp_path / "ok.png")
        os.rename(tmp_path / "ok.png", os.fsencode(tmp_path) + b"/" + name)
    main(["reconstruct", "vae", str(tmp_path), "-o", str(tmp_path / "out" / "o.png")])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len(names) + 1
    for told in (r"a\nb.png", "q'u\"o.png", "é🙂.png", r"\udcff.png"):
        assert told in out
    main(["encode", "vae", str(tmp_path), "-o", str(tmp_path / "out" / "codes.npz")])
    assert (tmp_path / "out" / "codes.npz").exists()


def test_a_terminal_without_the_letters_still_gets_the_table(tiny, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", pipe)
    main(["results", "--project", str(tiny.root)])
    pipe.seek(0)
    assert "\\u2500" in pipe.read(), "the rule below the heading"


def test_too_many_samples_are_one_line(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tiny.root)
    with pytest.raises(SystemExit) as stopped:
        main(["sample", "vae", "-n", str(10**13), "-o", str(tmp_path / "s.png")])
    assert stopped.value.code == 2
    assert "error: too little memory: ask for fewer" in capsys.readouterr().err
    assert not (tmp_path / "s.png").exists()


def test_ctrl_c_in_the_command_line_is_130(monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentlab.config.load_project", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["results"])
    assert stopped.value.code == 130


# --- the surroundings ---


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_python_that_is_too_old_is_named(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPO / name, tmp_path)
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1 && exit\nexit 1\n')
    old.chmod(0o755)
    ran = subprocess.run(
        ["make", "setup", f"PYTHON={old}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "needs Python 3.11 or newer" in ran.stderr
    assert "is Python 3.9.1: make setup PYTHON=" in ran.stderr
    assert not (tmp_path / ".venv").exists()


def test_what_was_trained_is_used_without_dvc(fork, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dvc", None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert len(latentlab.load("vae", project=fork.root).sample(2)) == 2
    fork.stage("report")
    main(["results", "--project", str(fork.root)])
    assert "linear_ae" in capsys.readouterr().out
