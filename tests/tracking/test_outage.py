"""A real `mlflow server` that is killed while a training runs."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentlab import tracking
from latentlab.utils.errors import LatentlabError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(root: Path, port: int) -> Iterator[None]:
    """Run `mlflow server` on the project's store, and kill it at the end."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{root}/mlruns/mlflow.db", "--workers", "1"),
        *("--artifacts-destination", str(root / "served")),
    ]
    env = {**os.environ, **tracking.store.ENVIRONMENT}
    env.pop("MLFLOW_TRACKING_URI", None)
    process = subprocess.Popen(command, env=env, cwd=root, start_new_session=True)
    try:
        for _ in range(240):
            try:
                tracking.check_store(root)
                break
            except LatentlabError:
                time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def train(run: tracking.Run, steps: range) -> bool:
    sent = True
    for step in steps:
        run.log({"train/loss": 1 / step, "train/kl": math.nan}, step)
        sent = run.flush()
    return sent


@pytest.mark.timeout(300)  # with MLflow's defaults, one request takes 247 s
def test_killed_server_gets_all_metrics_after_its_restart(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    with server(store.root, port):
        run = store.open_run()
        assert train(run, range(1, 4))
        assert run.log_artifact(Path(__file__), "code")
    assert not train(run, range(4, 40))
    assert not run.log_final({"fid": 2.5})
    assert not run.log_artifact(folder / "weights.pt")
    assert not run.log_model(folder, image_shape=(1, 8, 8))
    assert not run.finish()
    assert run.pending_file.read_text().count("\n") == 2 * 36 + 1
    first, last = capsys.readouterr().err.splitlines()
    assert "MLflow did not accept metrics (" in first
    assert first.endswith("): they are kept and sent later")
    assert last.startswith(f"warning: run {run.id} lacks in MLflow: artifacts (weights.pt, model")
    assert last.endswith(
        f"metrics (kept in {run.pending_file}), status FINISHED."
        " Run the same command again when the MLflow store works"
    )
    with pytest.raises(LatentlabError, match=f"MLflow store http://127.0.0.1:{port} does not work"):
        store.continue_run(run.id)

    with server(store.root, port):
        again = store.continue_run(run.id)
        assert again.log_missing([("train", "loss", step, 1 / step) for step in range(1, 40)], 1)
        assert again.log_artifact(folder / "weights.pt")
        assert again.log_model(folder, image_shape=(1, 8, 8))
        assert again.finish()
        with tracking.store.open_store(store.root) as client:
            files = [f.path for f in client.list_artifacts(run.id)]
            (model,) = client.get_run(run.id).outputs.model_outputs
            assert client.get_logged_model(model.model_id).status == "READY"
    assert sorted(files) == ["code", "weights.pt"]
    assert not run.pending_file.exists()
    assert store.history(run, "train/loss") == [(step, 1 / step) for step in range(1, 40)]
    unknown = store.history(run, "train/kl")
    assert [step for step, _ in unknown] == [*range(1, 40)]
    assert all(math.isnan(value) for _, value in unknown)
    stored = store.client.get_run(run.id)
    assert (stored.info.status, stored.data.metrics["fid"]) == ("FINISHED", 2.5)
