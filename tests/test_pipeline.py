"""The whole pipeline: the results, and the errors."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from latentlab.stages.__main__ import main as stages_main
from latentlab.stages.__main__ import run as run_stage
from latentlab.utils.errors import LatentlabError

REPO = Path(__file__).resolve().parents[1]
MODELS = ("linear_ae", "vae", "dcgan")
LABEL_FREE = {"fid", "reconstruction_mse", "psnr_db", "ssim"}
EVERY_FAMILY = LABEL_FREE | {"probe_accuracy", "classifier_accuracy"}


def metrics(project, name):
    return json.loads((project.root / "results" / name / "metrics.json").read_text())


# --- results ---


@pytest.mark.parametrize("name", MODELS)
def test_every_family_gets_all_main_metrics(tiny, name):
    measured = metrics(tiny, name)
    assert set(measured) >= EVERY_FAMILY
    assert all(math.isfinite(measured[key]) for key in EVERY_FAMILY)
    assert measured["num_reconstructed"] == (20 if name == "dcgan" else 108)
    assert measured["num_samples"] == 108
    assert measured["pca"]["latent_dim"] == min(measured["latent_dim"], 64)
    assert {"fid", "kid", "psnr_db", "probe_accuracy"} <= set(measured["ci95"])
    assert ("principal_angle_max_rad" in measured) == (name == "linear_ae")
    for figure in ("samples", "reconstructions", "interpolations", "map"):
        with Image.open(tiny.root / "results" / name / f"{figure}.png") as image:
            image.verify()


def test_models_are_between_the_baselines(tiny):
    reference = metrics(tiny, "reference")
    assert 0 < reference["real"]["fid"] < reference["noise"]["fid"]
    assert reference["real"]["classifier_accuracy"] > 0.5
    assert reference["pixels"]["probe_accuracy"] > 0.8
    assert (
        metrics(tiny, "linear_ae")["pca"]["reconstruction_sse"]
        < (metrics(tiny, "linear_ae")["reconstruction_sse"])
    ), "a linear code cannot beat PCA"


def test_the_report_has_every_model_and_metric(tiny):
    with (tiny.root / "reports" / "results.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert [row["type"] for name, row in rows.items() if name in MODELS] == ["model"] * 3
    for name in MODELS:
        for key in EVERY_FAMILY:
            assert float(rows[name][key]) == metrics(tiny, name)[key]


def test_no_partial_file_is_left(tiny):
    assert not list(tiny.root.rglob("*.partial"))
    assert not list(tiny.root.rglob("*.tmp"))
    assert not list((tiny.root / ".checkpoints").iterdir()), "checkpoints are deleted at the end"


def test_two_runs_have_the_same_metrics_bit_for_bit(tiny, small):
    small.stage("prepare")
    small.stage("classifier")
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


def test_images_without_labels_run_through_the_whole_pipeline(small):
    """Without classes the metrics of classifier and probe are absent; the others are there."""
    folder = small.root / "data" / "images"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{row}.png")
    small.edit(
        "params.yaml",
        data={"name": "image_folder", "size": 16, "channels": 1},
        models={"linear_ae": "configs/linear_ae.yaml", "dcgan": "configs/dcgan.yaml"},
    )
    for name in ("classifier", "linear_ae", "dcgan"):
        small.edit(f"configs/{name}.yaml", trainer={"batch_size": 16, "total_images": 64})
    small.edit(
        "configs/linear_ae.yaml", sampler={"class_path": "latentlab.samplers.FittedGaussian"}
    )
    small.stage("prepare")
    small.stage("classifier")
    small.stage("reference")
    for name in ("linear_ae", "dcgan"):
        small.stage("train", name)
        small.stage("evaluate", name)
        measured = metrics(small, name)
        assert set(measured) >= LABEL_FREE
        assert not {"probe_accuracy", "classifier_accuracy"} & set(measured)
        card = json.loads((small.root / "results" / name / "card.json").read_text())
        assert card["features"] == "random"
    assert metrics(small, "reference")["pixels"] == {}
    small.stage("report")
    with (small.root / "reports" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["classifier_accuracy"] for row in rows} == {""}, "absent, not zero"


# --- the data set of params.yaml: `tiny` has smaller images ---


@pytest.fixture(scope="module")
def mnist_5k(project_at, tmp_path_factory):
    """A project in which the pipeline has run on the data set of params.yaml. Do not change it."""
    project = project_at(tmp_path_factory.mktemp("mnist_5k"))
    project.shrink()
    ours = yaml.safe_load((REPO / "params.yaml").read_text())
    models = {name: ours["models"][name] for name in ("linear_ae", "dcgan")}
    project.edit("params.yaml", data=ours["data"], models=models)
    project.edit("configs/classifier.yaml", trainer__total_images=20_000)
    project.edit("configs/linear_ae.yaml", trainer__total_images=20_000)
    project.edit("configs/classifier.yaml", model__init_args__width=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for stage in ("prepare", "classifier", "reference"):
            project.stage(stage)
        for name in models:
            project.stage("train", name)
            project.stage("evaluate", name)
        project.stage("report")
    return project


def test_the_data_set_of_params_yaml_is_5000_real_digits(mnist_5k):
    meta = json.loads((mnist_5k.root / "data" / "prepared" / "meta.json").read_text())
    assert meta["name"] == "mnist_5k"
    assert meta["image_shape"] == [1, 28, 28]
    assert meta["counts"] == {"train": 3500, "val": 500, "test": 1000}


def test_on_real_digits_the_metrics_tell_noise_from_images(mnist_5k):
    """On 8×8 pixels noise has a precision of .9: the metrics mean little there."""
    reference = metrics(mnist_5k, "reference")
    assert reference["real"]["classifier_accuracy"] > 0.9
    for metric in ("precision", "recall", "density", "coverage"):
        assert reference["real"][metric] > 0.8, metric
        assert reference["noise"][metric] < 0.05, metric
    fids = [reference[images]["fid"] for images in ("real", "pca_gaussian", "noise")]
    assert 10 * fids[0] < fids[1] < fids[2] / 2
    assert reference["pca_gaussian"]["reconstruction_sse"] < 15, "PCA of 32 values"
    assert metrics(mnist_5k, "linear_ae")["reconstruction_sse"] < 40, "the mean image: 52"


def test_on_real_digits_the_table_is_complete(mnist_5k):
    with (mnist_5k.root / "reports" / "results.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    sizes = {f"PCA-{metrics(mnist_5k, name)['latent_dim']}" for name in ("linear_ae", "dcgan")}
    assert set(rows) == {"linear_ae", "dcgan", "real", "PCA-32", "pixels", "noise"} | sizes
    main = EVERY_FAMILY | {"precision", "recall", "density", "coverage", "train_seconds"}
    for name in ("linear_ae", "dcgan"):
        assert all(math.isfinite(float(rows[name][key])) for key in main)
        assert metrics(mnist_5k, name)["num_samples"] == 1000
        assert float(rows["real"]["fid"]) < float(rows[name]["fid"])
    page = (mnist_5k.root / "reports" / "index.html").read_text()
    assert "mnist_5k" in page


# --- errors ---


@pytest.fixture
def exit_code_2(fork, monkeypatch, capsys):
    """Run a stage as a process would. It must exit with code 2; return the last line of stderr."""
    monkeypatch.setattr("latentlab.utils.memory.keep_freed_memory", lambda: True)

    def call(*argv):
        with pytest.raises(SystemExit) as stopped:
            run_stage(lambda: fork.stage(*argv))
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return call


def snapshot(project):
    kept = ("runs", "results", "data/prepared")
    files = (path for folder in kept for path in (project.root / folder).rglob("*"))
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_missing_weights_at_evaluate(fork, exit_code_2):
    (fork.root / "runs" / "vae" / "weights.pt").unlink()
    before = snapshot(fork)
    said = exit_code_2("evaluate", "vae")
    assert re.match(r"error: .*runs/vae is not a complete run folder.*dvc repro train@vae", said)
    shutil.rmtree(fork.root / "runs" / "linear_ae")
    said = exit_code_2("evaluate", "linear_ae")
    assert said.startswith("error: 'linear_ae' is not trained yet: run `dvc repro train@linear_ae`")
    gone = fork.root / "runs" / "linear_ae"
    assert snapshot(fork) == {k: v for k, v in before.items() if gone not in k.parents}


def test_models_that_are_unknown_or_have_no_config(fork, exit_code_2):
    before = snapshot(fork)
    for stage in ("train", "evaluate"):
        said = exit_code_2(stage, "vea")
        assert said.startswith("error: unknown model 'vea': did you mean 'vae'? ")
    fork.edit("params.yaml", models__vea="configs/vea.yaml")
    said = exit_code_2("train", "vea")
    assert said.startswith("error: params.yaml lists the model 'vea', but there is no configs/vea")
    assert snapshot(fork) == before


def test_an_unknown_key_stops_every_stage_and_changes_nothing(fork, exit_code_2):
    before = snapshot(fork)
    fork.edit("params.yaml", data__sise=3)
    for argv in (
        ["prepare"],
        ["classifier"],
        ["reference"],
        ["train", "vae"],
        ["evaluate", "vae"],
        ["report"],
    ):
        assert re.match(r"error: params.yaml.*'sise'; did you mean 'size'", exit_code_2(*argv))
    assert snapshot(fork) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train"], "train takes the name of a model or task, got: none"),
        (["evaluate", "vae", "dcgan"], "evaluate takes the name of a model or task, got: vae dc"),
        (["classifier", "vae"], "classifier takes nothing, got: vae"),
    ],
)
def test_a_stage_with_too_few_or_too_many_names(argv, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["stages", *argv])
    with pytest.raises(SystemExit) as stopped:
        stages_main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_reference_at_evaluate(fork, exit_code_2):
    (fork.root / "data" / "reference" / "reference.pt").unlink()
    said = exit_code_2("evaluate", "vae")
    assert re.match(r"error: .*reference.pt is missing: run `dvc repro reference`", said)


def test_a_stage_too_early_names_the_missing_stage(small):
    for argv in (["classifier"], ["train", "vae"]):
        with pytest.raises(
            LatentlabError, match=r"not a complete prepared folder.*dvc repro prepare"
        ):
            small.stage(*argv)
    small.stage("prepare")
    with pytest.raises(LatentlabError, match=r"'vae' is not trained yet.*dvc repro train@vae"):
        small.stage("evaluate", "vae")
    with pytest.raises(LatentlabError, match=r"results/linear_ae.*not evaluated yet|dcgan is not"):
        small.stage("report")
