"""The whole pipeline: which stages run after a change, the results, and the errors."""

import csv
import json
import math
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from latentlab.config.selection import model_entry
from latentlab.config.template import pipeline
from latentlab.stages.__main__ import main as stages_main
from latentlab.stages.__main__ import run as run_stage
from latentlab.utils.errors import LatentlabError

REPO = Path(__file__).resolve().parents[1]
MODELS = ("linear_ae", "vae", "dcgan")
LABEL_FREE = {"fid", "reconstruction_mse", "psnr_db", "ssim"}
EVERY_FAMILY = LABEL_FREE | {"probe_accuracy", "classifier_accuracy"}


def metrics(project, name):
    return json.loads((project.root / "results" / name / "metrics.json").read_text())


# --- which stages run after a change ---

STAND_IN = """#!{python}
# Called in place of `python`: notes the stage, and writes its outputs, which differ at each call.
import json, pathlib, sys, time, yaml
stage, *name = sys.argv[3:]
called = "@".join([stage, *name])
with open("called.txt", "a") as log:
    log.write(called + "\\n")
for out in json.loads(pathlib.Path("outs.json").read_text())[stage]:
    path = pathlib.Path(out.replace("${{key}}", "".join(name)))
    path = path if path.suffix else path / "content"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{{called}} {{time.time_ns()}}")
    if path.name == "content":  # of a folder; the weights stay the same, as with one seed
        (path.parent / "weights.pt").write_text(called)
if stage == "train":
    listed = yaml.safe_load(open("params.yaml"))["models"][name[0].split("@")[0]]
    code = pathlib.Path("runs", name[0], "code.json")
    code.write_text(pathlib.Path(listed).read_text())
"""


def outs_of(stage):
    stage = stage.get("do", stage)
    named = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in named]


@pytest.fixture
def repro(small, monkeypatch):
    """A function that runs `dvc repro` with STAND_IN and returns the stages that it called."""
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

    def call(*targets):
        log = root / "called.txt"
        log.unlink(missing_ok=True)
        output = small.dvc("repro", *targets)
        assert log.exists() or "Data and pipelines are up to date" in output
        return sorted(log.read_text().split()) if log.exists() else []

    return call


def of(stage, *names):
    return [f"{stage}@{name}" for name in names]


def test_only_stages_that_a_change_can_affect_run_again(small, repro):
    models = [*of("train", *MODELS), *of("evaluate", *MODELS)]
    assert repro() == sorted(["prepare", "classifier", "reference", *models, "report"])
    small.edit("params.yaml", hardware__devices=4, hardware__loader="stream")
    assert repro() == [], "hardware affects no result"
    small.edit("configs/vae.yaml", model__init_args__beta=2.0)
    assert repro() == ["evaluate@vae", "report", "train@vae"]
    with (small.root / "src/latentlab/models/dcgan.py").open("a") as file:
        file.write("# another equation\n")
    assert repro() == ["evaluate@dcgan", "report", "train@dcgan"]
    small.edit("params.yaml", evaluation__seed=1)
    measured = ["reference", *of("evaluate", *MODELS), "report"]
    assert repro() == sorted(measured), "no training"
    add_model(small)
    assert repro() == ["evaluate@new", "report", "train@new"]


def test_a_new_diagnostic_runs_no_task_and_a_new_task_runs_nothing_else(small, repro):
    small.edit("params.yaml", models={"vae": "src/latentlab/models/vae.py"})
    package, task = small.root / "src" / "latentlab", "src/latentlab/tasks/gan_1d.py"
    small.edit("params.yaml", tasks={"gan_1d": {"code": task, "model": "classifier"}})
    repro()
    (package / "diagnostics" / "new.py").write_text("# applies, diagnose\n")
    (package / "diagnostics" / "metrics" / "new.py").write_text("# a metric of it\n")
    assert repro() == ["evaluate@vae", "report"]
    (package / "tasks" / "new.py").write_text("# a task\n")
    shutil.copy(small.root / "configs/tasks/gan_1d.yaml", small.root / "configs/tasks/new.yaml")
    assert repro() == [], "the code and the config alone"
    entry = {"code": "src/latentlab/tasks/new.py", "model": "classifier"}
    small.edit("params.yaml", tasks__new=entry)
    assert repro() == ["report", "tasks@new"]
    with (package / "models" / "gan.py").open("a") as file:
        file.write("# another equation\n")
    assert repro() == [], "a model that is not selected"
    with (package / "tracking" / "store.py").open("a") as file:
        file.write("# another call\n")
    assert repro() == [], "tracking affects no result"


def test_a_seed_more_trains_that_seed_alone(small, repro):
    """`vae@1` is the training of `vae` with the seed 1."""
    code = "src/latentlab/models/vae.py"
    small.edit("params.yaml", models={"vae": code}, more_seeds=[1])
    stages = [*of("train", "vae", "vae@1"), *of("evaluate", "vae", "vae@1")]
    assert repro() == sorted(["prepare", "classifier", "reference", *stages, "report"])
    small.edit("params.yaml", more_seeds=[1, 2])
    assert repro() == ["evaluate@vae@2", "report", "train@vae@2"]
    small.edit("params.yaml", more_seeds=[2])
    with (small.root / code).open("a") as file:
        file.write("# another equation\n")
    changed = ["vae", "vae@2"]
    assert repro() == sorted([*of("evaluate", *changed), *of("train", *changed), "report"])
    small.edit("configs/vae.yaml", model__init_args__beta=2.0)
    assert repro("evaluate@vae") == ["evaluate@vae", "train@vae"], "the first training alone"


def test_a_project_of_the_installed_package_watches_configs_and_requirements(small, repro):
    """dvc.yaml as `latentlab init` writes it; `path: configs/vae.yaml` is dependency and params."""
    root = small.root
    shutil.rmtree(root / "src")
    text = pipeline(root / "dvc.yaml")
    (root / "dvc.yaml").write_text(text)
    (root / "requirements.txt").write_text("latentlab==0.1.0\n")
    small.edit("params.yaml", models={name: f"configs/{name}.yaml" for name in ("vae", "dcgan")})
    models = [*of("train", "vae", "dcgan"), *of("evaluate", "vae", "dcgan")]
    whole = sorted(["prepare", "classifier", "reference", *models, "report"])
    assert repro() == whole
    assert repro() == []
    small.edit("configs/vae.yaml", model__init_args__beta=2.0)
    assert repro() == ["evaluate@vae", "report", "train@vae"]
    (root / "requirements.txt").write_text("latentlab==0.2.0\n")
    assert repro() == whole, "another version may change everything"


def add_model(project):
    """Add a file, a config and a line of params.yaml."""
    models, configs = project.root / "src" / "latentlab" / "models", project.root / "configs"
    shutil.copy(models / "vae.py", models / "new.py")
    text = (configs / "vae.yaml").read_text()
    (configs / "new.yaml").write_text(
        text.replace("latentlab.models.vae.", "latentlab.models.new.")
    )
    project.edit("params.yaml", models__new="src/latentlab/models/new.py")


def test_bytecode_is_no_change(small, repro):
    """Importing writes bytecode next to the sources."""
    repro()
    folder = small.root / "src" / "latentlab" / "data" / "__pycache__"
    folder.mkdir()
    (folder / "module.cpython-311.pyc").write_bytes(b"compiled")
    assert repro() == []


@pytest.mark.slow
def test_a_new_model_runs_in_the_real_pipeline(fork):
    """A copy of the VAE, trained by `dvc repro`, has the metrics of the VAE bit for bit."""
    fork.dvc("commit", "-f")  # the results of `tiny` count as reproduced
    add_model(fork)
    output = fork.dvc("repro")
    assert re.findall(r"Running stage '(.*?)'", output) == ["train@new", "evaluate@new", "report"]
    results = fork.root / "results"
    assert (results / "new" / "metrics.json").read_bytes() == (
        results / "vae" / "metrics.json"
    ).read_bytes()
    assert ">new<" in (fork.root / "reports" / "index.html").read_text()


# --- docs/new-model.md ---


def blocks(repo):
    """The code of the guide: model, config, line in params.yaml, lines for a file of the user."""
    text = (repo / "docs" / "new-model.md").read_text()
    return [code for _, code in re.findall(r"```(python|yaml)\n(.*?)```", text, re.DOTALL)]


def test_the_code_of_the_guide_is_that_of_the_repository(repo):
    model, config, line, _ = blocks(repo)
    assert model == (repo / "src/latentlab/models/wae.py").read_text()
    ours = yaml.safe_load((repo / "configs/wae.yaml").read_text())
    assert yaml.safe_load(config) == ours
    assert yaml.safe_load(line)["models"]["wae"] == model_entry(repo, "wae")


def run_guide(project, *, code, class_path, params):
    """Do the three steps of the guide in a project without the model; train and evaluate it."""
    model, config, *_ = blocks(REPO)
    (project.root / code).parent.mkdir(exist_ok=True)
    (project.root / code).write_text(model)
    path = project.root / "configs" / "wae.yaml"
    path.write_text(config.replace("latentlab.models.wae.WAE", class_path))
    project.edit("configs/wae.yaml", trainer__total_images=2000)
    listed = yaml.safe_load(params)
    project.edit("params.yaml", models__wae=listed["models"]["wae"])
    if "allow" in listed:
        project.edit("params.yaml", allow=listed["allow"])
    output = project.dvc("repro")
    assert re.findall(r"Running stage '(.*?)'", output) == ["train@wae", "evaluate@wae", "report"]
    measured = metrics(project, "wae")
    assert set(measured) >= EVERY_FAMILY
    assert {"sampler_comparison", "contraction", "identity_mapping"} <= set(measured)
    assert ">Wasserstein autoencoder<" in (project.root / "reports" / "index.html").read_text()
    return measured


@pytest.mark.slow
def test_the_guide_adds_a_model_inside_and_outside_of_the_package(fork, repo):
    _, _, line, own = blocks(repo)
    fork.dvc("commit", "-f")  # the results of `tiny` count as reproduced
    inside = fork.root / "src" / "latentlab" / "models" / "wae.py"
    inside.unlink()
    (fork.root / "configs" / "wae.yaml").unlink()
    code = "src/latentlab/models/wae.py"
    first = run_guide(fork, code=code, class_path="latentlab.models.wae.WAE", params=line)
    inside.unlink()
    code = "my_models/wae.py"
    second = run_guide(fork, code=code, class_path="my_models.wae.WAE", params=own)
    assert first == second


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
