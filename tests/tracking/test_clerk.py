"""A run kept by another process: the same run, also when one of the two is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from latentlab import tracking
from latentlab.contracts import LatentlabError
from latentlab.tracking import clerk

DESCRIBED = {"experiment": "e", "name": "vae", "params": {"a": {"b": 1}}, "tags": {"t": "x"}}


@pytest.fixture
def hired():
    tracking.hire()
    yield clerk._hired
    if clerk._hired is not None:
        clerk._hired.dismiss()


def read(root, query):
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as store:
        return store.execute(query).fetchall()


@pytest.mark.slow
def test_the_run_is_the_one_that_this_process_would_have_kept(tmp_path, hired):
    run = tracking.open_run(tmp_path, **DESCRIBED)
    run.log({"train/loss": 0.5}, 10)
    run.flush()
    assert run.log_final({"fid": 3.0, "test": {"sse": float("nan")}})
    artifact = tmp_path / "weights.pt"
    artifact.write_bytes(b"weights")
    assert run.log_artifact(artifact, "folder")
    assert run.finish("FINISHED")
    assert read(tmp_path, "SELECT run_uuid, name, status FROM runs") == [
        (run.id, "vae", "FINISHED")
    ]
    assert sorted(read(tmp_path, "SELECT key, value, step FROM metrics")) == [
        ("fid", 3.0, 0),
        ("test/sse", 0.0, 0),  # how MLflow stores NaN, beside a flag
        ("train/loss", 0.5, 10),
    ]
    assert read(tmp_path, "SELECT key, value FROM params") == [("a.b", "1")]
    assert list((tmp_path / "mlruns").rglob("folder/weights.pt"))


@pytest.mark.slow
def test_a_store_that_cannot_be_opened_is_told_while_the_training_logs(tmp_path, hired):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database, but long enough to be read" * 99)
    run = tracking.open_run(tmp_path, **DESCRIBED)
    end = time.monotonic() + 60
    while not hired.has_answered() and time.monotonic() < end:
        run.log({"train/loss": 0.5}, 10)
        time.sleep(0.1)
    with pytest.raises(LatentlabError, match=r"the MLflow store .* does not work"):
        run.log({"train/loss": 0.5}, 20)
    assert not run.finish("FAILED"), "and nothing waits for an answer that never comes"


@pytest.mark.slow
def test_a_name_that_mlflow_refuses_is_told_at_the_first_window(tmp_path, hired):
    run = tracking.open_run(tmp_path, **DESCRIBED)
    with pytest.raises(LatentlabError, match=r"'train/d\(x\)' cannot name a metric"):
        run.log({"train/loss": 0.5, "train/d(x)": 0.1}, 10)
    hired.tell("log", metrics={"train/d(x)": 0.1}, step=10)  # past the check: the next answer tells
    hired.tell("flush")
    with pytest.raises(LatentlabError, match="cannot name a metric"):
        run.set_tags({"device": "cpu"})
    assert run.set_tags({"device": "cpu"}), "one mistake, one answer"
    assert run.finish("FINISHED")


@pytest.mark.slow
def test_a_clerk_that_is_killed_stops_nobody(tmp_path, hired, capfd):
    run = tracking.open_run(tmp_path, **DESCRIBED)
    assert run.id
    hired._process.kill()
    hired._process.wait()
    run.log({"train/loss": 0.5}, 10)
    run.flush()
    assert not run.log_final({"fid": 3.0})
    assert not run.finish("FINISHED")
    assert "the tracking process died" in capfd.readouterr().err


EMPLOYER = """
import sys, time
from pathlib import Path
from latentlab import tracking
tracking.hire()
run = tracking.open_run(Path(sys.argv[1]), experiment="e", name="vae", params={}, tags={})
for step in range(20):
    run.log({"train/loss": step / 7}, step)
print(run.id, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_the_run_of_a_killed_process_is_whole_and_marked(tmp_path):
    command = [sys.executable, "-c", EMPLOYER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as employer:
        run_id = employer.stdout.readline().strip()
        os.kill(employer.pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while read(tmp_path, "SELECT run_uuid, status FROM runs") != [(run_id, "KILLED")]:
        assert time.monotonic() < end, "the clerk did not close the run"
        time.sleep(0.1)
    (count,) = read(tmp_path, "SELECT count(*) FROM metrics WHERE key = 'train/loss'")
    assert count == (20,)
