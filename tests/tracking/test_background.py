"""The background worker: the same run as without it, also if one of the two processes ends."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from latentlab import tracking
from latentlab.tracking import background
from latentlab.utils.errors import LatentlabError

ARGUMENTS = {"experiment": "e", "name": "vae", "params": {"a": {"b": 1}}, "tags": {"t": "x"}}


@pytest.fixture
def worker():
    tracking.start_worker()
    yield background._worker
    if background._worker is not None:
        background._worker.close()


def query(root, statement):
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as store:
        return store.execute(statement).fetchall()


def test_background_run_stores_the_same_as_a_run(tmp_path, worker):
    run = tracking.open_run(tmp_path, **ARGUMENTS)
    run.log({"train/loss": 0.5}, 10)
    run.flush()
    assert run.log_final({"fid": 3.0, "test": {"sse": float("nan")}})
    artifact = tmp_path / "weights.pt"
    artifact.write_bytes(b"weights")
    assert run.log_artifact(artifact, "folder")
    assert run.finish("FINISHED")
    assert query(tmp_path, "SELECT run_uuid, name, status FROM runs") == [
        (run.id, "vae", "FINISHED")
    ]
    assert sorted(query(tmp_path, "SELECT key, value, step FROM metrics")) == [
        ("fid", 3.0, 0),
        ("test/sse", 0.0, 0),  # MLflow stores NaN as 0 with the column is_nan set
        ("train/loss", 0.5, 10),
    ]
    assert query(tmp_path, "SELECT key, value FROM params") == [("a.b", "1")]
    assert list((tmp_path / "mlruns").rglob("folder/weights.pt"))


def test_failed_open_run_raises_in_log(tmp_path, worker):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database, but long enough to be read" * 99)
    run = tracking.open_run(tmp_path, **ARGUMENTS)
    end = time.monotonic() + 60
    while not worker.has_reply() and time.monotonic() < end:
        run.log({"train/loss": 0.5}, 10)
        time.sleep(0.1)
    with pytest.raises(LatentlabError, match=r"the MLflow store .* does not work"):
        run.log({"train/loss": 0.5}, 20)
    assert not run.finish("FAILED"), "finish must not wait for a reply"


def test_invalid_metric_name_raises(tmp_path, worker):
    run = tracking.open_run(tmp_path, **ARGUMENTS)
    with pytest.raises(LatentlabError, match=r"'train/d\(x\)' is not a valid name of a metric"):
        run.log({"train/loss": 0.5, "train/d(x)": 0.1}, 10)
    worker.send("log", metrics={"train/d(x)": 0.1}, step=10)  # bypasses the check in `log`
    worker.send("flush")
    with pytest.raises(LatentlabError, match="is not a valid name"):
        run.set_tags({"device": "cpu"})
    assert run.set_tags({"device": "cpu"}), "the error is reported once"
    assert run.finish("FINISHED")


def test_killed_worker_does_not_stop_the_stage(tmp_path, worker, capfd):
    run = tracking.open_run(tmp_path, **ARGUMENTS)
    assert run.id
    worker._process.kill()
    worker._process.wait()
    run.log({"train/loss": 0.5}, 10)
    run.flush()
    assert not run.log_final({"fid": 3.0})
    assert not run.finish("FINISHED")
    assert f"the tracking process died, so run {run.id} is incomplete" in capfd.readouterr().err


def test_worker_that_dies_before_the_run_is_open_raises(tmp_path, worker):
    worker._process.kill()
    worker._process.wait()
    run = tracking.open_run(tmp_path, **ARGUMENTS)
    with pytest.raises(LatentlabError, match="died before it opened a run: run the command again"):
        assert run.id


STAGE = """
import sys, time
from pathlib import Path
from latentlab import tracking
tracking.start_worker()
run = tracking.open_run(Path(sys.argv[1]), experiment="e", name="vae", params={}, tags={})
for step in range(20):
    run.log({"train/loss": step / 7}, step)
print(run.id, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_run_of_a_killed_stage_is_complete_and_marked_killed(tmp_path):
    command = [sys.executable, "-c", STAGE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stage:
        run_id = stage.stdout.readline().strip()
        os.kill(stage.pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while query(tmp_path, "SELECT run_uuid, status FROM runs") != [(run_id, "KILLED")]:
        assert time.monotonic() < end, "the worker did not close the run"
        time.sleep(0.1)
    (count,) = query(tmp_path, "SELECT count(*) FROM metrics WHERE key = 'train/loss'")
    assert count == (20,)


def test_worker_process_does_not_import_torch():
    """`python -m latentlab.tracking worker` must start fast."""
    command = [sys.executable, "-X", "importtime", "-m", "latentlab.tracking", "worker"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mlflow" in imported
    assert not {"torch", "lightning"} & imported
