"""A prepared project whose trainings have 36 steps, and helpers to train in it."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from latentlab.config import load_experiment
from latentlab.data.prepared import read_meta
from latentlab.training import data_module, fit
from latentlab.training.resume import find_resume_point


def first_weight(model):
    """A score without randomness: the first weight of the model."""
    return float(next(model.parameters()).flatten()[0])


class PreparedProject:
    """A project with prepared digits. A training has 4 epochs of 9 whole batches."""

    STEPS, BATCH = 36, 128
    VALIDATED = 18  # the step of the first of two validations: after the second epoch

    def __init__(self, project):
        self.project = project
        self.root, self.edit, self.stage = project.root, project.edit, project.stage

    def open_experiment(self, name):
        """Return an experiment and its data."""
        meta = read_meta(self.root / "data" / "prepared")
        experiment = load_experiment(name, meta.data_spec, self.root)
        return experiment, data_module(experiment)

    def fit(self, name, folder, *, resume=False):
        """Train in the work folder `folder`. Return the trained model and the FitResult."""
        self.edit(f"configs/{name}.yaml", trainer__total_images=self.STEPS * self.BATCH)
        experiment, data = self.open_experiment(name)
        work = self.root / ".checkpoints" / folder
        point = find_resume_point(work) if resume else None
        assert resume == (point is not None)
        return experiment.model, fit(experiment, data, work=work, resume=point, score=first_weight)

    def statuses(self):
        """The status of each MLflow run by name, read without MLflow."""
        with sqlite3.connect(self.root / "mlruns" / "mlflow.db") as store:
            found = store.execute("SELECT name, status FROM runs").fetchall()
        store.close()
        return dict(found)


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory, project_at):
    """The root folder of which `prepared` is a copy."""
    project = project_at(tmp_path_factory.mktemp("prepared"))
    project.shrink()
    project.edit("params.yaml", data__test_fraction=0.2)
    project.stage("prepare")
    counts = read_meta(project.root / "data" / "prepared").counts
    assert counts["train"] // PreparedProject.BATCH == 9
    return project.root


@pytest.fixture
def prepared(unchanged, project):
    shutil.copytree(unchanged, project.root, dirs_exist_ok=True)
    return PreparedProject(project)
