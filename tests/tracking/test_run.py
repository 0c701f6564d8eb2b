"""Runs, read back with MLflow's own client."""

from __future__ import annotations

import json
import math
import socket
import time
from pathlib import Path

import pytest

from latentlab.tracking import add_metrics
from latentlab.utils.errors import LatentlabError


def test_run_has_params_tags_and_an_artifact_folder(store) -> None:
    params = {
        "seed": 0,
        "model": {"class_path": "VAE", "init_args": {"beta": 1e-3, "hidden": [4, 2], "none": None}},
        "empty": {},
        "long": "x" * 7000,
        "odd*key": True,
    }
    run = store.open_run(params=params)
    stored = store.client.get_run(run.id)
    assert stored.data.params == {
        "seed": "0",
        "model.class_path": "VAE",
        "model.init_args.beta": "0.001",
        "model.init_args.hidden": "[4, 2]",
        "model.init_args.none": "None",
        "empty": "{}",
        "long": "x" * 5999 + "…",
        "odd_key": "True",
    }
    assert stored.data.tags["family"] == "vae"
    assert (stored.info.run_name, stored.info.status) == ("vae", "RUNNING")
    assert stored.info.artifact_uri == f"file://{store.root}/mlruns/artifacts/{run.id}/artifacts"
    assert not any(socket.gethostname() in value for value in stored.data.tags.values())


def test_more_params_than_fit_in_one_request(store) -> None:
    params = {f"p{i}": i for i in range(250)}
    run = store.open_run(params=params)
    assert store.data(run).params == {key: str(value) for key, value in params.items()}


def test_metrics_are_sent_by_flush(store) -> None:
    run = store.open_run()
    for step in range(1100):  # more than fit in one request
        run.log({"train/loss": 1 / (step + 1), "val/loss": float(step)}, step)
    assert store.data(run).metrics == {}
    assert run.flush()
    assert store.history(run, "train/loss") == [(i, 1 / (i + 1)) for i in range(1100)]
    assert store.history(run, "val/loss") == [(i, float(i)) for i in range(1100)]


def test_non_finite_values_are_stored_as_nan_and_tagged(store) -> None:
    run = store.open_run()
    for step, value in enumerate([1.0, math.inf, -math.inf, math.nan]):
        run.log({"a": value, "b": value if step == 3 else 0.0}, step)
        run.flush()
    values = [value for _, value in store.history(run, "a")]
    assert values[0] == 1.0
    assert all(math.isnan(value) for value in values[1:])
    tags = store.data(run).tags
    assert tags["non_finite.a"] == "inf at step 1"
    assert tags["non_finite.b"] == "nan at step 3"


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/../b", "a*", "a\nb", "x" * 251])
def test_invalid_names_raise(store, name: str) -> None:
    """MLflow refuses them too. A buffered bad name would block all other metrics."""
    from mlflow.exceptions import MlflowException

    run = store.open_run()
    with pytest.raises(LatentlabError, match=r"is not a valid name .* Allowed are"):
        run.log({name: 1.0}, 0)
    with pytest.raises(LatentlabError, match="is not a valid name of a metric or tag"):
        run.set_tags({name: "value"})
    with pytest.raises(MlflowException):
        store.client.log_metric(run.id, name, 1.0)


def test_value_that_is_not_a_number_raises(store) -> None:
    run = store.open_run()
    with pytest.raises(LatentlabError, match=r"metric 'test/sse' is \[1\], which is not a number"):
        run.log_final({"test": {"sse": [1]}})


def test_final_results_are_flattened(store) -> None:
    run = store.open_run()
    results = {
        "fid": 2.5,
        "kid": None,
        "test": {"sse": 3, "deep": {"x": True}},
        "features": "classifier",
    }
    assert run.log_final(results)
    stored = store.data(run)
    assert stored.metrics == {"fid": 2.5, "test/sse": 3.0, "test/deep/x": 1.0}
    assert stored.tags["features"] == "classifier"


def test_metrics_are_added_to_a_finished_run(store) -> None:
    """A run that the store does not have is skipped: its weights come from another machine."""
    run = store.open_run()
    run.finish("FINISHED", seconds=5)
    before = store.client.get_run(run.id).info
    assert add_metrics(store.root, run.id, {"seeds": {"fid_mean": 2.5}})
    assert add_metrics(store.root, run.id, {"seeds": {"fid_mean": 3.5}})
    assert store.data(run).metrics == {"seeds/fid_mean": 3.5}
    after = store.client.get_run(run.id).info
    assert (after.status, after.end_time) == ("FINISHED", before.end_time)
    assert add_metrics(store.root, "0" * 32, {"fid": 1.0})
    assert add_metrics(store.root, "", {"fid": 1.0})


def test_artifacts_and_status(store, tmp_path: Path) -> None:
    (tmp_path / "figures" / "deep").mkdir(parents=True)
    (tmp_path / "figures" / "deep" / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    run = store.open_run()
    assert run.log_artifact(tmp_path / "b.txt")
    assert run.log_artifact(tmp_path / "figures", "report")
    assert run.set_tags({"device": "cpu"})
    assert run.finish("KILLED")
    folder = store.root / "mlruns" / "artifacts" / run.id / "artifacts"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == ["b.txt", "report/deep/a.txt"]
    assert store.client.get_run(run.id).info.status == "KILLED"
    assert store.data(run).tags["device"] == "cpu"
    with pytest.raises(LatentlabError, match=r"cannot log .*absent to MLflow: it does not exist"):
        run.log_artifact(tmp_path / "absent")


def test_deleted_experiment_is_restored(store) -> None:
    store.open_run()
    id_ = store.client.get_experiment_by_name("digits").experiment_id
    store.client.delete_experiment(id_)
    run = store.open_run()
    assert store.client.get_run(run.id).info.experiment_id == id_
    assert store.client.get_experiment(id_).lifecycle_stage == "active"


def test_data_set_of_a_run(store) -> None:
    counts = {"train": 3600, "val": 400, "test": 1000}
    dataset = {"name": "mnist_5k", "digest": "ab" * 32, "source": "mnist_5k", "counts": counts}
    run = store.open_run(dataset=dataset)
    (logged,) = store.client.get_run(run.id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("mnist_5k", "ab" * 18)
    assert json.loads(logged.dataset.profile) == counts
    assert json.loads(logged.dataset.source) == {"name": "mnist_5k"}
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "training"}


def test_the_duration_can_be_given(store) -> None:
    run = store.open_run()
    assert run.finish(seconds=12.3456)
    assert duration(store, run) == 12.346
    continued = store.continue_run(run.id)
    assert continued.finish(seconds=12.5), "the time between is not counted"
    assert duration(store, run) == 12.5


def test_a_run_can_be_opened_after_its_work(store) -> None:
    before = time.time()
    run = store.open_run(seconds=100.0)
    assert -1 <= store.client.get_run(run.id).info.start_time / 1000 - (before - 100) < 60
    assert run.finish(seconds=100.0)
    assert duration(store, run) == 100


def duration(store, run) -> float:
    info = store.client.get_run(run.id).info
    return (info.end_time - info.start_time) / 1000


def test_invalid_names_raise_in_log_missing(store) -> None:
    with pytest.raises(LatentlabError, match="is not a valid name of a metric"):
        store.open_run().log_missing([("val", "*", 10, 1.0)], 10)


# --- continue_run ---


def test_continued_run_keeps_its_metrics(store, capsys: pytest.CaptureFixture) -> None:
    first = store.open_run()
    first.log({"loss": 2.0}, 0)
    first.finish()
    run = store.continue_run(first.id, params={"seed": 1, "more": 2}, tags={"stage": "evaluate"})
    assert store.client.get_run(run.id).info.status == "RUNNING"
    run.log({"loss": 1.0}, 1)
    assert run.finish()
    assert run.id == first.id
    assert store.history(run, "loss") == [(0, 2.0), (1, 1.0)]
    stored = store.data(run)
    assert stored.params == {"seed": "0", "more": "2"}  # MLflow does not allow a param to change
    assert stored.tags["changed.seed"] == "1"
    assert stored.tags["stage"] == "evaluate"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("case", ["other machine", "no id", "odd id", "deleted"])
def test_unknown_run_is_replaced_and_reported(
    case: str, store, capsys: pytest.CaptureFixture
) -> None:
    run_id = {"other machine": "0" * 32, "no id": "", "odd id": "../x"}.get(case)
    if run_id is None:
        run_id = store.open_run().id
        store.client.delete_run(run_id)
    run = store.continue_run(run_id)
    assert run.id != run_id
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"vae: no run {run_id or '(none)'} in this MLflow store; opened {run.id}"
    assert store.data(run).params == {"seed": "0"}
