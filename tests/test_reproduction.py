"""`dvc repro`: which stages run after a change, and models that are added by docs/new-model.md."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from latentlab.config.selection import model_entry
from latentlab.config.template import pipeline

REPO = Path(__file__).resolve().parents[1]
MODELS = ("vae", "dcgan")
IMAGE_METRICS = {"fid", "reconstruction_mse", "psnr_db", "ssim"}
EVERY_FAMILY = IMAGE_METRICS | {"probe_accuracy", "classifier_accuracy"}

# --- which stages run after a change ---

STAND_IN = r"""#!/bin/sh
# Called in place of `python`: notes the stage, and writes its outputs, which differ at each call.
# outs/STAGE lists them, with NAME for the model or task; of a folder, the file `content` in it.
stage=$3 name=$4
called="$stage${name:+@$name}"
echo "$called" >> called.txt
sed "s/NAME/$name/" "outs/$stage" | while read -r out; do
  mkdir -p "${out%/*}"
  echo "$called $(date +%s) $$" > "$out"
  case $out in
    */content) printf %s "$called" > "${out%/*}/weights.pt" ;; # the same, as with one seed
  esac
done
if [ "$stage" = train ]; then
  code=$(sed -n "/^models:/,/^[^ ]/s/^  ${name%%@*}: //p" params.yaml)
  cp "$code" "runs/$name/code.json"
fi
"""


def outs_of(stage):
    """The files that the stand-in writes for a stage."""
    stage = stage.get("do", stage)
    named = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    paths = [next(iter(out)) if isinstance(out, dict) else out for out in named]
    paths = [path.replace("${key}", "NAME") for path in paths]
    return [path if Path(path).suffix else f"{path}/content" for path in paths]


@pytest.fixture
def repro(small, monkeypatch):
    """A function that runs `dvc repro` with STAND_IN and returns the stages that it called."""
    small.add_pipeline()
    root = small.root
    for folder in ("bin", "outs"):
        (root / folder).mkdir()
    (root / "bin" / "python").write_text(STAND_IN)
    (root / "bin" / "python").chmod(0o755)
    for name, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        (root / "outs" / name).write_text("".join(f"{out}\n" for out in outs_of(stage)))
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
    code = {name: f"src/latentlab/models/{name}.py" for name in MODELS}
    small.edit("params.yaml", models=code)
    models = [*of("train", *MODELS), *of("evaluate", *MODELS)]
    assert repro() == sorted(["prepare", "classifier", "reference", *models, "report"])
    small.edit("params.yaml", hardware__devices=4, hardware__loader="stream")
    bytecode = small.root / "src" / "latentlab" / "data" / "__pycache__"
    bytecode.mkdir()
    (bytecode / "module.cpython-311.pyc").write_bytes(b"compiled")
    assert repro() == [], "hardware affects no result, and importing writes bytecode"
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
    for file in ("models/gan.py", "tracking/store.py"):
        with (package / file).open("a") as code:
            code.write("# another line\n")
    assert repro() == [], "a model that is not selected; tracking, which affects no result"


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
    small.edit("params.yaml", models={name: f"configs/{name}.yaml" for name in MODELS})
    models = [*of("train", *MODELS), *of("evaluate", *MODELS)]
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


def follow_guide(project, name, *, code, class_path, params):
    """Do the three steps of the guide for a model with this name."""
    model, config, *_ = blocks(REPO)
    (project.root / code).parent.mkdir(exist_ok=True)
    (project.root / code).write_text(model)
    path = project.root / "configs" / f"{name}.yaml"
    path.write_text(config.replace("latentlab.models.wae.WAE", class_path))
    project.edit(f"configs/{name}.yaml", trainer__total_images=2000)
    listed = yaml.safe_load(params)
    project.edit("params.yaml", **{f"models__{name}": listed["models"]["wae"]})
    if "allow" in listed:
        project.edit("params.yaml", allow=listed["allow"])


def stored(project, name):
    return (project.root / "results" / name / "metrics.json").read_bytes()


@pytest.mark.slow
def test_new_models_inside_and_outside_of_the_package_run_in_the_real_pipeline(fork, repo):
    """A copy of the VAE has its metrics bit for bit; that of the guide has the same anywhere."""
    _, _, line, own = blocks(repo)
    fork.dvc("commit", "-f")  # the results of `tiny` count as reproduced
    add_model(fork)
    inside = "src/latentlab/models/wae.py"
    (fork.root / inside).unlink()
    (fork.root / "configs" / "wae.yaml").unlink()
    follow_guide(fork, "wae", code=inside, class_path="latentlab.models.wae.WAE", params=line)
    outside = {"code": "my_models/wae.py", "class_path": "my_models.wae.WAE"}
    follow_guide(fork, "my_wae", **outside, params=own)
    output = fork.dvc("repro")
    names = ("new", "wae", "my_wae")
    run = re.findall(r"Running stage '(.*?)'", output)
    assert sorted(run) == sorted([*of("train", *names), *of("evaluate", *names), "report"])
    assert stored(fork, "new") == stored(fork, "vae")
    assert stored(fork, "wae") == stored(fork, "my_wae")
    measured = json.loads(stored(fork, "wae"))
    assert set(measured) >= EVERY_FAMILY
    assert {"sampler_comparison", "contraction", "identity_mapping"} <= set(measured)
    page = (fork.root / "reports" / "index.html").read_text()
    assert ">new<" in page
    titles = set(re.findall(r">Wasserstein autoencoder \((\w+)\)<", page))
    assert titles == {"wae", "my_wae"}, "models with one title have their names behind it"
