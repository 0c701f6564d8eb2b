"""Shared fixtures: projects in temporary folders that train in seconds."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

# One thread is faster for tiny tensors, and child processes must round in the same way.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
import yaml
from filelock import FileLock, Timeout

from forked_dvc import run_dvc
from latentlab.utils.imports import import_lightning_lean

import_lightning_lean()  # as the commands do: halves the processor time of `import lightning`
REPO = Path(__file__).resolve().parents[1]


# The files that take longest, at the beginning: then no worker is left with one at the end.
LONGEST = (
    *("test_distributed", "test_reproduction", "test_fork_server", "test_configs", "test_pipeline"),
    *("test_scheduler", "test_browser", "test_resume", "test_trainer", "test_crossings"),
    "test_crossed_use",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    """Tests never call the tracking server of the user. Each starts with the same seed."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    torch.manual_seed(0)


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # of a background process; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ProjectFolder:
    """A project of 8×8 digits: copies of params.yaml and configs/, and methods to edit and run it.

    The digits of scikit-learn are the smallest data set, so tests are fast on them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copy(REPO / "params.yaml", root)
        shutil.copytree(REPO / "configs", root / "configs")
        self.edit("params.yaml", data__name="digits")

    @classmethod
    def existing(cls, root: Path) -> ProjectFolder:
        """The project of a folder that is one already."""
        project = object.__new__(cls)
        project.root = root
        return project

    def edit(self, file: str, **values) -> None:
        """Set dotted keys (written with __ for .) in a YAML file; None deletes."""
        path = self.root / file
        content = yaml.safe_load(path.read_text())
        for dotted, value in values.items():
            *parents, last = dotted.split("__")
            place = content
            for key in parents:
                place = place.setdefault(key, {})
            if value is None:
                place.pop(last)
            else:
                place[last] = value
        path.write_text(yaml.safe_dump(content))

    def shrink(self) -> None:
        """Make trainings take seconds: few images, narrow networks, short evaluation, no tasks."""
        self.edit("params.yaml", trainer__log_every_n_steps=5, trainer__num_validations=2)
        models = {name: f"src/latentlab/models/{name}.py" for name in ("linear_ae", "vae", "dcgan")}
        self.edit("params.yaml", models=models, tasks={}, hardware__accelerator="cpu")
        self.edit("params.yaml", data__test_fraction=0.06)
        budget = {"inversion_num_images": 20, "inversion_num_starts": 50, "inversion_steps": 5}
        self.edit("params.yaml", **{f"evaluation__{key}": value for key, value in budget.items()})
        for name, images in {
            "classifier": 8000,
            "linear_ae": 4000,
            "vae": 4000,
            "dcgan": 2000,
        }.items():
            self.edit(f"configs/{name}.yaml", trainer__total_images=images)
        self.edit("configs/classifier.yaml", model__init_args__width=8)
        self.edit("configs/vae.yaml", model__init_args__network__init_args__hidden=[64])
        rates = {"generator_lr": 2e-4, "discriminator_lr": 2e-4, "betas": [0.5, 0.999]}
        gan = {"width": 8, "latent_dim": 16, "optim": rates}
        self.edit("configs/dcgan.yaml", **{f"model__init_args__{k}": v for k, v in gan.items()})
        self.edit("configs/dcgan.yaml", trainer__batch_size=128)

    def add_pipeline(self) -> None:
        """Add dvc.yaml, the sources, and a `.dvc` folder that needs no git."""
        shutil.copy(REPO / "dvc.yaml", self.root)
        shutil.copy(REPO / ".dvcignore", self.root)
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / "src", self.root / "src", ignore=hidden)
        (self.root / ".dvc").mkdir()
        shutil.copy(REPO / ".dvc" / "config", self.root / ".dvc")
        shutil.copytree(REPO / ".dvc" / "plots", self.root / ".dvc" / "plots")
        (self.root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
        (self.root / "data" / "images").mkdir(parents=True, exist_ok=True)

    def stage(self, stage: str, *argv: str) -> None:
        """Run the main function of a stage in this process, in the folder of the project."""
        main = importlib.import_module(f"latentlab.stages.{stage}").main
        with contextlib.chdir(self.root):
            main(list(argv))

    def environment(self) -> dict[str, str]:
        """The environment of a child process: this Python, and the sources of the project if any.

        PYTHON*, MLFLOW* and DVC* of the parent are left out.
        """
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "DVC", "PYTHON"))
        }
        sources = self.root / "src" if (self.root / "src").is_dir() else REPO / "src"
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(sources),
            "PYTHONDONTWRITEBYTECODE": "1",  # DVC would see a new __pycache__ as a change
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DVC_NO_ANALYTICS": "true",
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a child process with stdout and stderr in one text pipe."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # a background process ignores SIGINT, and a child would inherit that
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def python_stage(self, stage: str, *argv: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-m", "latentlab.stages", stage, *argv)

    def dvc(self, *argv: str) -> str:
        """Run a dvc command, which must succeed, and return its output."""
        code, output = run_dvc(argv, self.root, self.environment())
        assert code == 0, output
        return output


@pytest.fixture(scope="session")
def project_at() -> type[ProjectFolder]:
    """The class that makes a project in a given folder."""
    return ProjectFolder


@pytest.fixture
def project(tmp_path) -> ProjectFolder:
    return ProjectFolder(tmp_path)


@pytest.fixture
def small(project) -> ProjectFolder:
    """A project in which a training takes a second. Its data are not prepared yet."""
    project.shrink()
    return project


TINY_MODELS = ("linear_ae", "vae", "dcgan")


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A temporary folder that all xdist workers of this run have in common."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    return folder


def build_together(marks: Path, phases: list[dict[str, Callable[[], None]]]) -> None:
    """Run each step once. Workers share the steps of a phase; all wait for its last step.

    `marks`: an empty folder, which notes what is done.
    """
    for phase in phases:
        for seconds in (0, -1):  # first those steps that no worker has begun; then wait
            for name, step in phase.items():
                done = marks / f"{name}.done"
                with (
                    contextlib.suppress(Timeout),
                    FileLock(marks / f"{name}.lock", timeout=seconds),
                ):
                    if not done.exists():
                        step()
                        done.touch()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> ProjectFolder:
    """A project in which the whole pipeline has run on few digits. Only `fork` may change.

    All xdist workers use the same one, and build it together.
    """
    folder = shared_folder(tmp_path_factory, "tiny")
    project = ProjectFolder.existing(folder / "project")

    def make() -> None:
        project.root.mkdir()
        new = ProjectFolder(project.root)
        new.shrink()
        new.add_pipeline()
        for stage in ("prepare", "classifier", "reference"):
            project.stage(stage)

    def train(name: str) -> None:
        project.stage("train", name)
        project.stage("evaluate", name)

    models = {name: partial(train, name) for name in TINY_MODELS}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        build_together(
            folder, [{"project": make}, models, {"report": partial(project.stage, "report")}]
        )
    return project


@pytest.fixture(scope="session")
def conditional(tmp_path_factory) -> Path:
    """The run folder of a conditional VAE that was not trained: classes are 0 to 9."""
    from latentlab.config import load_experiment
    from latentlab.contracts import ClassSampler

    project = ProjectFolder(tmp_path_factory.mktemp("conditional"))
    spec = {"image_shape": [1, 8, 8], "num_classes": 10}
    given = {"image_shape": (1, 8, 8), "num_classes": 10}
    experiment = load_experiment("conditional_vae", given, project.root)
    assert isinstance(experiment.sampler, ClassSampler)
    experiment.sampler.fit_classes(torch.arange(100) % 10)
    folder = project.root / "runs" / "conditional_vae"
    folder.mkdir(parents=True)
    torch.save(experiment.model.state_dict(), folder / "weights.pt")
    torch.save(experiment.sampler.state_dict(), folder / "sampler.pt")
    description = {
        "name": "conditional_vae",
        "data_spec": spec,
        "data_sha256": "",
        "classes": [str(digit) for digit in range(10)],
        "resolved": experiment.resolved,
        "device": "cpu",
        "images_seen": 0,
    }
    (folder / "experiment.json").write_text(json.dumps(description))
    return folder


@pytest.fixture
def fork(tiny, tmp_path) -> ProjectFolder:
    """A copy of `tiny` that a test may change, with trained models and MLflow store."""
    root = tmp_path / "fork"
    return ProjectFolder.existing(shutil.copytree(tiny.root, root))


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder that holds mnist/; tests marked `mnist` are skipped without it."""
    folder = os.environ.get("LATENTLAB_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("LATENTLAB_DATA names no folder with mnist/")
    return Path(folder)
