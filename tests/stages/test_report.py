"""Stage report with several trainings of a model: page, table, MLflow."""

import sqlite3
import statistics
from contextlib import closing

import pytest
import torch

from latentlab import LatentlabError, load
from latentlab.cli import main as cli
from latentlab.config import load_project
from latentlab.report.comparison import read_comparison
from latentlab.stages import UNTRACKED
from latentlab.tracking import Run


def query(root, statement, *values):
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as store:
        return store.execute(statement, values).fetchall()


@pytest.fixture
def seeded(fork):
    """A second training of linear_ae, with the seed 1."""
    fork.edit(
        "params.yaml", more_seeds=[1], models={"linear_ae": "src/latentlab/models/linear_ae.py"}
    )
    fork.stage("train", "linear_ae@1")
    fork.stage("evaluate", "linear_ae@1")
    return fork


def test_another_seed_is_another_training_on_the_same_data(seeded, monkeypatch, capsys):
    root = seeded.root
    first, other = load("linear_ae", project=root), load("linear_ae", seed=1, project=root)
    assert (other.name, other.folder) == ("linear_ae@1", root / "runs" / "linear_ae@1")
    assert load("linear_ae@1", project=root).folder == other.folder
    assert first.metadata["data_sha256"] == other.metadata["data_sha256"]
    z = torch.ones(1, first.module.latent_dim)
    assert not first.decode(z).equal(other.decode(z))
    with pytest.raises(LatentlabError, match=r"'linear_ae@1' is one training, so `seed` \(2\)"):
        load("linear_ae@1", seed=2, project=root)

    fids = [
        row.values["fid"]
        for row in read_comparison(load_project(root)).models[0].trainings.values()
    ]
    mean, std = statistics.mean(fids), statistics.stdev(fids)
    seeded.stage("report")
    assert f"{mean:.1f}" in (root / "reports" / "index.html").read_text()
    capsys.readouterr()
    cli(["results", "--project", str(root)])
    table = capsys.readouterr().out
    assert f" {mean:.1f} ± {std:.1f} " in table
    assert "± with n > 1: the standard deviation" in table or "± is the standard" in table

    runs = dict(query(root, "SELECT name, run_uuid FROM runs WHERE name LIKE 'linear_ae%'"))
    assert list(runs) == ["linear_ae", "linear_ae@1"]
    tags = dict(query(root, "SELECT key, value FROM tags WHERE run_uuid = ?", runs["linear_ae@1"]))
    assert (tags["mlflow.parentRunId"], tags["model"]) == (runs["linear_ae"], "linear_ae")
    assert tags["mlflow.source.name"] == "latentlab repro evaluate_seed@linear_ae-1"
    logged = dict(
        query(root, "SELECT key, value FROM latest_metrics WHERE run_uuid = ?", runs["linear_ae"])
    )
    assert logged["seeds/num_trainings"] == 2
    assert logged["seeds/fid_mean"] == pytest.approx(mean)
    assert logged["seeds/fid_std"] == pytest.approx(std)
    assert "seeds/latent_dim_std" not in logged, "equal in both"
    ((status,),) = query(root, "SELECT status FROM runs WHERE run_uuid = ?", runs["linear_ae"])
    assert status == "FINISHED"

    monkeypatch.setattr(Run, "log_final", lambda self, metrics: False)
    with pytest.raises(SystemExit) as stopped:
        seeded.stage("report")
    assert stopped.value.code == UNTRACKED, "the same command sends the means again"


def test_the_first_training_stores_the_checksum_of_its_code(tiny):
    """DVC trains the other seeds again when it changes."""
    import hashlib
    import json

    code = json.loads((tiny.root / "runs" / "vae" / "code.json").read_text())
    path = "src/latentlab/models/vae.py"
    assert code == {path: hashlib.sha256((tiny.root / path).read_bytes()).hexdigest()}
    assert json.loads((tiny.root / "runs" / "classifier" / "code.json").read_text()) == {}
