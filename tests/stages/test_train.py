"""Stage train where MLflow does not take all of it."""

import sqlite3
from contextlib import closing

import pytest

from latentlab.tracking import Run
from latentlab.training.callbacks import SeedEachBatch


def test_incomplete_tracking_is_exit_code_3_and_nothing_is_trained_twice(small, monkeypatch):
    small.stage("prepare")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_final", lambda self, metrics: self.flush())  # lost on the way
        patch.setattr(Run, "finish", lambda self, status, **_: False)
        with pytest.raises(SystemExit) as stopped:
            small.stage("train", "vae")
    assert stopped.value.code == 3
    folder = small.root / "runs" / "vae"
    weights, run_id = (folder / "weights.pt").read_bytes(), (folder / "mlflow_run_id").read_text()
    assert list(small.root.glob(".checkpoints/vae/*/*.ckpt")), "the state to deliver from"

    def trained_again(*_):
        raise AssertionError("a second training")

    monkeypatch.setattr(SeedEachBatch, "on_train_batch_start", trained_again)
    small.stage("train", "vae")
    assert (folder / "weights.pt").read_bytes() == weights
    assert (folder / "mlflow_run_id").read_text() == run_id
    assert not list(small.root.glob(".checkpoints/vae/*"))
    with closing(sqlite3.connect(small.root / "mlruns" / "mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        points = store.execute("SELECT key, step, count(*) FROM metrics GROUP BY 1, 2").fetchall()
    assert ("train_seconds", 0, 1) in points, "delivered the second time"
    assert all(count == 1 for *_, count in points)
