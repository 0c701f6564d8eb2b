"""Faults of docs/reliability.md: full or read-only disks, odd names, damaged files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from markupsafe import escape
from PIL import Image
from torch import nn

import latentlab
from latentlab.cli import main
from latentlab.config.run_folder import load_weights
from latentlab.report.comparison import comparison_csv, read_comparison
from latentlab.report.page import render_page
from latentlab.stages.__main__ import run as run_stage
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_atomic

REPO = Path(__file__).resolve().parents[1]
MODELS = ("linear_ae", "vae", "dcgan")
HTML = """<img src=x onerror="alert('1')">&"""


def run_command(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def tmpfs(tmp_path):
    """A function that mounts an empty file system of `size` bytes on a folder."""
    mounted = []

    def mount(folder, size):
        folder.mkdir(parents=True, exist_ok=True)
        made = run_command("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
        if made.returncode:
            pytest.skip(f"cannot mount a tmpfs: {made.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        run_command("umount", "-l", str(folder))


def read_only(folder):
    assert run_command("mount", "-o", "remount,ro", str(folder)).returncode == 0


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def exit_code(action):
    with pytest.raises(SystemExit) as stopped:
        run_stage(action)
    return stopped.value.code


# --- disks ---


def test_full_disk_in_stage_train_keeps_the_old_run(fork, tmpfs, capsys):
    """The training ends, and its weights do not fit on the disk."""
    runs = fork.root / "runs"
    saved = files(runs / "linear_ae")
    shutil.rmtree(runs)
    tmpfs(runs, sum(map(len, saved.values())) + 40_000)
    for name, content in saved.items():
        write_atomic(runs / "linear_ae" / name, content)
    fork.edit("configs/linear_ae.yaml", trainer__total_images=2000)
    assert exit_code(lambda: fork.stage("train", "linear_ae")) == 2
    stderr = capsys.readouterr().err
    assert re.search(
        r"error: .*runs/linear_ae cannot be written \(No space left on device\)", stderr
    )
    assert files(runs) == {f"linear_ae/{name}": content for name, content in saved.items()}


def test_full_disk_in_stage_report_keeps_the_old_page(fork, tmpfs, capsys):
    reports = fork.root / "reports"
    tmpfs(reports, 65_536)
    write_atomic(reports / "index.html", b"the old page")
    assert exit_code(lambda: fork.stage("report")) == 2
    stderr = capsys.readouterr().err
    assert re.search(r"error: .*index.html cannot be written \(No space left on device\)", stderr)
    assert (reports / "index.html").read_bytes() == b"the old page"
    assert not [p for p in reports.iterdir() if p.name.endswith(".tmp")]


def test_read_only_folder(fork, tmpfs, capsys, monkeypatch):
    reports = fork.root / "reports"
    tmpfs(reports, 10**6)
    write_atomic(reports / "index.html", b"old")
    read_only(reports)
    assert exit_code(lambda: fork.stage("report")) == 2
    assert "results.csv cannot be written (Read-only file system)" in capsys.readouterr().err
    monkeypatch.chdir(fork.root)
    encode = ["encode", "vae", str(fork.root / "x.png")]
    for command, name in ((["sample", "vae"], "out.png"), (encode, "out.npz")):
        Image.new("L", (8, 8)).save(fork.root / "x.png")
        with pytest.raises(SystemExit) as stopped:
            main([*command, "-o", str(reports / name)])
        assert stopped.value.code == 2
        assert f"{name} cannot be written (Read-only file system)" in capsys.readouterr().err
    assert files(reports) == {"index.html": b"old"}


# --- weights ---


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, created):
        self.created = created

    def __reduce__(self):
        return Path.touch, (self.created,)


def test_pickle_in_a_weights_file_is_not_run(fork, tmp_path, capsys):
    """Not in latentlab.load, the command line or stage evaluate."""
    created = tmp_path / "executed"
    torch.save({"encoder.0.weight": Payload(created)}, fork.root / "runs" / "vae" / "weights.pt")
    message = r"weights.pt does not hold this model's weights"
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("vae", project=fork.root)
    with pytest.raises(SystemExit) as stopped:
        main(["sample", "vae", "--project", str(fork.root)])
    assert stopped.value.code == 2
    assert exit_code(lambda: fork.stage("evaluate", "vae")) == 2
    assert len(re.findall(message, capsys.readouterr().err)) == 2
    assert not created.exists()


def test_truncated_weights_raise(tmp_path):
    module = nn.Linear(30, 30)
    complete = tmp_path / "complete.pt"
    torch.save(module.state_dict(), complete)
    content = complete.read_bytes()
    for length in [0, 1, 3, 4, 100, *range(200, len(content), 97), len(content) - 1]:
        (tmp_path / "weights.pt").write_bytes(content[:length])
        with pytest.raises(LatentlabError, match=r"weights.pt does not hold this model's weights"):
            load_weights(module, tmp_path / "weights.pt")
    load_weights(module, complete)


def test_weights_larger_than_their_file_raise(tmp_path):
    module, path = nn.Linear(3, 3), tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(LatentlabError, match=r"claims 1,000,000,000,000 values"):
        load_weights(module, path)
    torch.save(module.state_dict(), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part) + b"\0" * 100_000)
    with pytest.raises(
        LatentlabError, match=r"the file is compressed; torch.save never compresses"
    ):
        load_weights(module, path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        "{}",
        '{"data_spec": 5}',
        '{"data_spec": {"image_shape": 5}}',
        "[" * 100_000,
    ],
)
def test_damaged_experiment_json_raises(tiny, tmp_path, content):
    folder = shutil.copytree(tiny.root / "runs" / "vae", tmp_path / "vae")
    (folder / "experiment.json").write_text(content)
    with pytest.raises(LatentlabError, match=r"is not a complete run folder"):
        latentlab.load(folder)


# --- results and the page ---


def read_listed(root, models):
    """The comparison of a project at `root` that lists `models`."""
    data = SimpleNamespace(name="digits")
    return read_comparison(
        SimpleNamespace(
            root=root, seed=0, more_seeds=(), goal=None, data=data, models=models, tasks={}
        )
    )


def results_of(project):
    models = dict.fromkeys(MODELS, "x")
    return read_listed(project.root, models)


@pytest.mark.parametrize("name", ["metrics.json", "card.json", "cost.json"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_results_raise_with_the_file_and_the_command(fork, capsys, name, keep):
    path = fork.root / "results" / "vae" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert exit_code(lambda: fork.stage("report")) == 2
    stderr = capsys.readouterr().err
    assert re.search(
        rf"results/vae/{name} is not readable JSON .* `dvc repro evaluate@vae`", stderr
    )
    with pytest.raises(SystemExit) as stopped:
        main(["results", "--project", str(fork.root)])
    assert stopped.value.code == 2
    assert f"results/vae/{name}" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 20, 60, 300])
@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("vae/map.png", "evaluate@vae"),
        ("vae/images.npz", "evaluate@vae"),
        ("reference/originals.png", "reference"),
    ],
)
def test_truncated_figure_raises_with_the_file_and_the_command(fork, file, stage, keep):
    path = fork.root / "results" / file
    if path.suffix == ".png":  # it is read only where images.npz is missing
        path.with_name("images.npz").unlink(missing_ok=True)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        LatentlabError, match=rf"results/{file} cannot be shown.*`dvc repro {stage}`"
    ):
        render_page(results_of(fork))


def test_names_are_escaped_on_the_page(fork):
    """Names of models, classes (folders), families, samplers and quantities."""
    root = fork.root / "results"
    name = HTML.replace("/", "")
    (root / "vae").rename(root / name)
    card = json.loads((root / name / "card.json").read_text())
    for key in ("title", "family", "sampler", "summary", "objective", "device"):
        card[key] = f"{key} {HTML}"
    card["papers"] = [f"paper {HTML}"]
    card["config"] = {HTML: HTML}
    (root / name / "card.json").write_text(json.dumps(card))
    metrics = json.loads((root / name / "metrics.json").read_text())
    (root / name / "metrics.json").write_text(json.dumps(metrics | {HTML: 1.0}))
    history = (root / name / "history.csv").read_text().replace("elbo_nats", '"<script>1</script>"')
    (root / name / "history.csv").write_text(history)
    reference = json.loads((root / "reference" / "card.json").read_text())
    reference |= {"classes": [HTML, "a\nb", 'q"uote', "é🙂"], "data": HTML, "features": None}
    (root / "reference" / "card.json").write_text(json.dumps(reference))
    models = {name: "x", "dcgan": "x"}
    shown = render_page(read_listed(fork.root, models))
    assert "<img src=x" not in shown
    assert shown.count("<script") == 3, "two of them are JSON, which is not run"
    assert shown.count(str(escape(HTML))) > 10
    assert "é🙂" in shown
    assert "q&#34;uote" in shown


def test_csv_cells_are_no_formulas(fork):
    root = fork.root / "results"
    (root / "vae").rename(root / "=cmd|' -C calc'!A0")
    card = json.loads((root / "=cmd|' -C calc'!A0" / "card.json").read_text())
    (root / "=cmd|' -C calc'!A0" / "card.json").write_text(
        json.dumps(card | {"family": "+1+1", "features": None})
    )
    models = {"=cmd|' -C calc'!A0": "x"}
    text = comparison_csv(read_listed(fork.root, models))
    rows = list(csv.DictReader(text.splitlines()))
    assert rows[0]["model"] == "'=cmd|' -C calc'!A0"
    assert rows[0]["family"] == "'+1+1"
    assert float(rows[0]["likelihood/elbo_nats"]) < 0, "a negative number is not changed"


# --- the command line ---


def test_file_names_with_newlines_quotes_and_invalid_utf8(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tiny.root)
    names = [b"a\nb.png", b"q'u\"o.png", "é🙂.png".encode(), b"\xff.png"]
    for number, name in enumerate(names):
        Image.new("L", (8, 8), 40 * number).save(tmp_path / "ok.png")
        os.rename(tmp_path / "ok.png", os.fsencode(tmp_path) + b"/" + name)
    main(["reconstruct", "vae", str(tmp_path), "-o", str(tmp_path / "out" / "o.png")])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len(names) + 1
    for printed in (r"a\nb.png", "q'u\"o.png", "é🙂.png", r"\udcff.png"):
        assert printed in out
    main(["encode", "vae", str(tmp_path), "-o", str(tmp_path / "out" / "codes.npz")])
    assert (tmp_path / "out" / "codes.npz").exists()


def test_results_on_an_ascii_terminal(tiny, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", pipe)
    main(["results", "--project", str(tiny.root)])
    pipe.seek(0)
    assert "\\u2500" in pipe.read(), "the line below the heading"


def test_too_many_samples_print_one_line(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tiny.root)
    with pytest.raises(SystemExit) as stopped:
        main(["sample", "vae", "-n", str(10**13), "-o", str(tmp_path / "s.png")])
    assert stopped.value.code == 2
    message = "error: out of memory: use fewer or smaller images, or another --device"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.png").exists()


def test_ctrl_c_in_the_command_line_exits_with_130(monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentlab.config.load_project", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["results"])
    assert stopped.value.code == 130


# --- the environment ---


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_old_python_is_reported(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "install.py"):
        shutil.copy(REPO / name, tmp_path)
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1 && exit\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={old}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is Python 3.9.1: make setup PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_trained_models_are_used_without_dvc(fork, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dvc", None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert len(latentlab.load("vae", project=fork.root).sample(2)) == 2
    fork.stage("report")
    main(["results", "--project", str(fork.root)])
    assert "linear_ae" in capsys.readouterr().out


def test_reliability_names_existing_tests():
    text = (REPO / "docs" / "reliability.md").read_text()
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}(" in (REPO / file).read_text(), f"{file}::{test}"
