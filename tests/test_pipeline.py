"""The pipeline as a whole: what runs when what changed, what comes out, what is refused."""

import csv
import json
import math
import re
import shutil
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from latentlab.contracts import LatentlabError
from latentlab.stages.__main__ import main as door
from latentlab.stages.__main__ import run as entry

MODELS = ("linear_ae", "vae", "dcgan")
LABEL_FREE = {"fid", "reconstruction_mse", "psnr_db", "ssim"}
EVERY_FAMILY = LABEL_FREE | {"probe_accuracy", "judge_accuracy"}


def metrics(project, name):
    return json.loads((project.root / "results" / name / "metrics.json").read_text())


# --- what runs when what changed ---

STAND_IN = """#!{python}
# In place of `python`: notes which stage was called and makes its outputs, new at each call.
import json, pathlib, sys, time
stage, *name = sys.argv[3:]
called = "@".join([stage, *name])
with open("called.txt", "a") as log:
    log.write(called + "\\n")
for out in json.loads(pathlib.Path("outs.json").read_text())[stage]:
    path = pathlib.Path(out.replace("${{key}}", "".join(name)))
    path = path if path.suffix else path / "content"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{{called}} {{time.time_ns()}}")
    if path.name == "content":  # of a folder: weights are the same again, as for one seed
        (path.parent / "weights.pt").write_text(called)
"""


def outs_of(stage):
    stage = stage.get("do", stage)
    named = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in named]


@pytest.fixture
def repro(small, monkeypatch):
    """`dvc repro` → the stages that it called; none takes time, for `python` is a stand-in."""
    small.add_pipeline()
    root = small.root
    (root / "bin").mkdir()
    (root / "bin" / "python").write_text(STAND_IN.format(python=sys.executable))
    (root / "bin" / "python").chmod(0o755)
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    (root / "outs.json").write_text(json.dumps({k: outs_of(v) for k, v in stages.items()}))
    plain = small.environment()
    with_stand_in = plain | {"PATH": f"{root / 'bin'}:{plain['PATH']}"}
    monkeypatch.setattr(small, "environment", lambda: with_stand_in)

    def call():
        log = root / "called.txt"
        log.unlink(missing_ok=True)
        said = small.dvc("repro")
        assert log.exists() or "Data and pipelines are up to date" in said
        return sorted(log.read_text().split()) if log.exists() else []

    return call


def of(stage, *names):
    return [f"{stage}@{name}" for name in names]


def test_only_what_a_change_can_reach_runs_again(small, repro):
    models = [*of("train", *MODELS), *of("evaluate", *MODELS)]
    assert repro() == sorted(["prepare", "judge", "reference", *models, "report"])
    small.edit("params.yaml", hardware__devices=4, hardware__loader="stream")
    assert repro() == [], "a bigger machine retrains nothing"
    small.edit("configs/vae.yaml", model__init_args__beta=2.0)
    assert repro() == ["evaluate@vae", "report", "train@vae"]
    with (small.root / "src/latentlab/models/dcgan.py").open("a") as file:
        file.write("# another equation\n")
    assert repro() == ["evaluate@dcgan", "report", "train@dcgan"]
    small.edit("params.yaml", evaluation__seed=1)
    measured = ["reference", *of("evaluate", *MODELS), "report"]
    assert repro() == sorted(measured), "and trains nothing, nor the judge"
    add_model(small)
    assert repro() == ["evaluate@new", "report", "train@new"]


def add_model(project):
    """The three touches: a file, a YAML, a line."""
    models, configs = project.root / "src" / "latentlab" / "models", project.root / "configs"
    shutil.copy(models / "vae.py", models / "new.py")
    text = (configs / "vae.yaml").read_text()
    (configs / "new.yaml").write_text(
        text.replace("latentlab.models.vae.", "latentlab.models.new.")
    )
    project.edit("params.yaml", models__new="new")


def test_compiled_python_is_no_change(small, repro):
    """Importing writes bytecode beside the sources, later stages more of it than earlier ones."""
    repro()
    folder = small.root / "src" / "latentlab" / "data" / "__pycache__"
    folder.mkdir()
    (folder / "module.cpython-311.pyc").write_bytes(b"compiled")
    assert repro() == []


@pytest.mark.slow
def test_a_model_of_three_touches_runs_in_the_real_pipeline(fork):
    """A copy of the VAE, in processes of its own, gets the VAE's numbers to the last bit."""
    fork.dvc("commit", "-f")  # what `tiny` has run in this process counts as reproduced
    add_model(fork)
    said = fork.dvc("repro")
    assert re.findall(r"Running stage '(.*?)'", said) == ["train@new", "evaluate@new", "report"]
    results = fork.root / "results"
    assert (results / "new" / "metrics.json").read_bytes() == (
        results / "vae" / "metrics.json"
    ).read_bytes()
    assert ">new<" in (fork.root / "reports" / "index.html").read_text()


# --- what comes out ---


@pytest.mark.parametrize("name", MODELS)
def test_every_family_gets_every_headline_number(tiny, name):
    measured = metrics(tiny, name)
    assert set(measured) >= EVERY_FAMILY
    assert all(math.isfinite(measured[key]) for key in EVERY_FAMILY)
    assert measured["num_reconstructed"] == (20 if name == "dcgan" else 108)
    assert measured["num_samples"] == 108
    assert ("pca" in measured) == (name != "dcgan")
    assert ("pca_angle_max_rad" in measured) == (name == "linear_ae")
    for pictures in ("samples", "reconstructions", "interpolations", "map"):
        with Image.open(tiny.root / "results" / name / f"{pictures}.png") as picture:
            picture.verify()


def test_the_baselines_frame_the_models(tiny):
    reference = metrics(tiny, "reference")
    assert 0 < reference["real"]["fid"] < reference["noise"]["fid"]
    assert reference["real"]["judge_accuracy"] > 0.5
    assert reference["pixels"]["probe_accuracy"] > 0.8
    assert (
        metrics(tiny, "linear_ae")["pca"]["reconstruction_sse"]
        < (metrics(tiny, "linear_ae")["reconstruction_sse"])
    ), "no linear code of this size beats PCA after so short a training"


def test_the_report_has_every_model_and_number(tiny):
    with (tiny.root / "reports" / "results.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert [row["kind"] for name, row in rows.items() if name in MODELS] == ["model"] * 3
    for name in MODELS:
        for key in EVERY_FAMILY:
            assert float(rows[name][key]) == metrics(tiny, name)[key]


def test_nothing_half_written_is_left(tiny):
    assert not list(tiny.root.rglob("*.partial"))
    assert not list(tiny.root.rglob("*.tmp"))
    assert not list((tiny.root / ".checkpoints").iterdir()), "finished trainings keep none"


def test_two_runs_from_scratch_measure_the_same_to_the_last_bit(tiny, small):
    small.stage("prepare")
    small.stage("judge")
    small.stage("reference")
    for name in ("linear_ae", "dcgan"):
        small.stage("train", name)
        small.stage("evaluate", name)
    for name in ("reference", "linear_ae", "dcgan"):
        first, second = (
            (project.root / "results" / name / "metrics.json").read_bytes()
            for project in (tiny, small)
        )
        assert first == second, name


def test_images_without_labels_go_all_the_way(small):
    """No class, no judge, no probe: those numbers are absent, the others are there."""
    folder = small.root / "data" / "images"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{row}.png")
    small.edit(
        "params.yaml",
        data={"name": "image_folder", "size": 16, "channels": 1},
        models={"linear_ae": "linear_ae", "dcgan": "dcgan"},
    )
    for name in ("judge", "linear_ae", "dcgan"):
        small.edit(f"configs/{name}.yaml", trainer={"batch_size": 16, "images": 64})
    small.edit("configs/linear_ae.yaml", sampler={"class_path": "latentlab.priors.FittedGaussian"})
    small.stage("prepare")
    small.stage("judge")
    small.stage("reference")
    for name in ("linear_ae", "dcgan"):
        small.stage("train", name)
        small.stage("evaluate", name)
        measured = metrics(small, name)
        assert set(measured) >= LABEL_FREE
        assert not {"probe_accuracy", "judge_accuracy"} & set(measured)
        card = json.loads((small.root / "results" / name / "card.json").read_text())
        assert card["features"] == "random"
    assert metrics(small, "reference")["pixels"] == {}
    small.stage("report")
    with (small.root / "reports" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["judge_accuracy"] for row in rows} == {""}, "absent, not zero"


# --- what is refused ---


@pytest.fixture
def exit_code_2(fork, monkeypatch, capsys):
    """Run a stage as a process would: it must leave with code 2; returns what it said."""
    monkeypatch.setattr("latentlab.memory.keep_freed_memory", lambda: True)

    def call(*argv):
        with pytest.raises(SystemExit) as stopped:
            entry(lambda: fork.stage(*argv))
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return call


def snapshot(project):
    kept = ("runs", "results", "data/prepared")
    files = (path for folder in kept for path in (project.root / folder).rglob("*"))
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_weights_that_are_missing_at_evaluate(fork, exit_code_2):
    (fork.root / "runs" / "vae" / "weights.pt").unlink()
    before = snapshot(fork)
    said = exit_code_2("evaluate", "vae")
    assert re.match(r"error: .*runs/vae is not a complete run folder.*dvc repro train@vae", said)
    shutil.rmtree(fork.root / "runs" / "linear_ae")
    said = exit_code_2("evaluate", "linear_ae")
    assert said.startswith("error: 'linear_ae' is not trained yet: `dvc repro train@linear_ae`")
    gone = fork.root / "runs" / "linear_ae"
    assert snapshot(fork) == {k: v for k, v in before.items() if gone not in k.parents}


def test_models_that_are_unknown_or_have_no_yaml(fork, exit_code_2):
    before = snapshot(fork)
    assert exit_code_2("train", "vea").startswith("error: unknown model 'vea': configs/ has ")
    assert exit_code_2("evaluate", "vea").startswith("error: unknown model 'vea': trained: dcgan")
    fork.edit("params.yaml", models__vea="vae")
    said = exit_code_2("train", "vea")
    assert said == "error: params.yaml lists the model 'vea', but configs/vea.yaml is absent"
    assert snapshot(fork) == before


def test_a_misspelt_key_stops_every_stage_and_changes_nothing(fork, exit_code_2):
    before = snapshot(fork)
    fork.edit("params.yaml", data__sise=3)
    for argv in (
        ["prepare"],
        ["judge"],
        ["reference"],
        ["train", "vae"],
        ["evaluate", "vae"],
        ["report"],
    ):
        assert re.match(r"error: params.yaml.*'sise'", exit_code_2(*argv))
    assert snapshot(fork) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train"], "train takes the name of a model or task, got: none"),
        (["evaluate", "vae", "dcgan"], "evaluate takes the name of a model or task, got: vae dc"),
        (["judge", "vae"], "judge takes nothing, got: vae"),
    ],
)
def test_a_stage_with_too_few_or_too_many_names(argv, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["stages", *argv])
    with pytest.raises(SystemExit) as stopped:
        door()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_reference_that_is_missing_at_evaluate(fork, exit_code_2):
    (fork.root / "data" / "reference" / "reference.pt").unlink()
    said = exit_code_2("evaluate", "vae")
    assert re.match(r"error: .*reference.pt is missing: run `dvc repro reference`", said)


def test_a_batch_larger_than_the_data(fork, exit_code_2):
    before = snapshot(fork)
    fork.edit("configs/vae.yaml", trainer__batch_size=5000)
    said = exit_code_2("train", "vae")
    assert re.match(r"error: batch_size 5000 is larger than the \d+ images to train on", said)
    assert snapshot(fork) == before


def test_stages_out_of_order_name_the_one_that_is_missing(small):
    for argv in (["judge"], ["train", "vae"]):
        with pytest.raises(LatentlabError, match=r"no complete prepared folder.*dvc repro prepare"):
            small.stage(*argv)
    small.stage("prepare")
    with pytest.raises(LatentlabError, match=r"'vae' is not trained yet.*dvc repro train@vae"):
        small.stage("evaluate", "vae")
    with pytest.raises(LatentlabError, match=r"results/linear_ae.*not evaluated yet|dcgan is not"):
        small.stage("report")
