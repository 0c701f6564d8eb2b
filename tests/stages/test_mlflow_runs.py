"""What the runs of the stages contain, read from the store of the trained test project."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from latentlab.config import load_project
from latentlab.evaluation.results import Result, write_result
from latentlab.stages.mlflow_runs import log_task

MODELS = ("linear_ae", "vae", "dcgan")


def query(root, statement, *values):
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as store:
        return store.execute(statement, values).fetchall()


def run_id(root, name):
    return (root / "runs" / name / "mlflow_run_id").read_text().strip()


def tags(root, run):
    return dict(query(root, "SELECT key, value FROM tags WHERE run_uuid = ?", run))


@pytest.mark.parametrize("name", MODELS)
def test_the_description_has_the_idea_the_paper_and_what_to_do(tiny, name):
    found = tags(tiny.root, run_id(tiny.root, name))
    text = found["mlflow.note.content"]
    card = json.loads((tiny.root / "results" / name / "card.json").read_text())
    assert text.startswith(f"**{card['title']}**: {card['summary']}")
    assert card["objective"] in text
    assert all(f"- {paper}" in text for paper in card["papers"])
    assert f'latentlab.load("{name}")' in text
    assert "reports/index.html" in text
    assert "Look at " in text
    assert found["mlflow.source.name"] == f"latentlab repro evaluate@{name}"


@pytest.mark.parametrize("name", MODELS)
def test_the_duration_is_that_of_the_training(tiny, name):
    cost = json.loads((tiny.root / "runs" / name / "cost.json").read_text())
    statement = "SELECT end_time - start_time FROM runs WHERE run_uuid = ?"
    ((duration,),) = query(tiny.root, statement, run_id(tiny.root, name))
    assert duration == round(1000 * cost["train_seconds"])


@pytest.mark.parametrize("name", MODELS)
def test_a_run_has_its_data_set_and_images_of_its_training(tiny, name):
    run = run_id(tiny.root, name)
    statement = (
        "SELECT name, digest, dataset_profile FROM datasets JOIN inputs"
        " ON datasets.dataset_uuid = inputs.source_id WHERE inputs.destination_id = ?"
    )
    ((data, digest, profile),) = query(tiny.root, statement, run)
    meta = json.loads((tiny.root / "data" / "prepared" / "meta.json").read_text())
    assert (data, digest) == ("digits", meta["sha256"][:36])
    summary = json.loads((tiny.root / "results" / "data" / "summary.json").read_text())
    assert json.loads(profile) == meta["counts"] | {"summary": summary}
    images = tiny.root / "mlruns" / "artifacts" / run / "artifacts" / "images"
    assert len(list(images.glob("samples+step+*.png"))) == 2, "at both validations"


@pytest.mark.parametrize("name", MODELS)
def test_fewer_than_30_metrics_have_no_prefix(tiny, name):
    statement = "SELECT key FROM latest_metrics WHERE run_uuid = ?"
    keys = {key for (key,) in query(tiny.root, statement, run_id(tiny.root, name))}
    top = {key for key in keys if "/" not in key}
    assert len(top) < 30
    assert {"fid", "kid", "reconstruction_mse", "probe_accuracy", "train_seconds"} <= top
    assert {"train/loss", "val/loss"} <= keys or name == "dcgan"


def test_the_run_of_a_task_is_below_that_of_its_model(fork):
    result = Result("Retrieval", "Images with near codes.", metrics={"precision": 0.5})
    write_result(result, fork.root / "results" / "tasks" / "retrieval" / "result")
    settings = {"seed": 0, "model": "vae"}
    log_task(load_project(fork.root), "retrieval", settings, result, 3.25)
    statement = "SELECT run_uuid, end_time - start_time FROM runs WHERE name = 'retrieval'"
    ((run, duration),) = query(fork.root, statement)
    found = tags(fork.root, run)
    assert found["mlflow.parentRunId"] == run_id(fork.root, "vae")
    assert found["mlflow.note.content"].startswith("**Retrieval.** Images with near codes.")
    assert duration == 3250


def test_a_new_run_of_a_training_from_another_machine_has_its_curves_and_model(fork):
    """As after `dvc pull` of the run folder and one evaluation."""
    old = run_id(fork.root, "vae")
    statement = "SELECT key, step, value FROM metrics WHERE run_uuid = ?"
    before = query(fork.root, statement, old)
    shutil.rmtree(fork.root / "mlruns")
    fork.stage("evaluate", "vae")
    ((new,),) = query(fork.root, "SELECT run_uuid FROM runs WHERE name = 'vae'")
    assert new != old
    after = {(key, step): value for key, step, value in query(fork.root, statement, new)}
    curves = {(k, s): v for k, s, v in before if k.startswith(("train/", "val/"))}
    assert len(curves) > 4
    assert {place: after[place] for place in curves} == pytest.approx(curves)
    assert ("train_seconds", 0) in after
    assert tags(fork.root, new)["environment.threads"] == "1"
    ((artifacts,),) = query(fork.root, "SELECT artifact_uri FROM runs WHERE run_uuid = ?", new)
    assert (Path(artifacts.removeprefix("file://")) / "weights.pt").exists()
    assert query(fork.root, "SELECT count(*) FROM logged_models") == [(1,)]
