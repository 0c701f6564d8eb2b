"""A store that fails while a training runs."""

from __future__ import annotations

import json
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
from latentlab.contracts import LatentlabError


def test_an_outage_is_one_warning_and_costs_no_number(store, capsys: pytest.CaptureFixture) -> None:
    run = store.open()
    broken = store.cut(run)
    for step in range(3):
        run._contact.insist()  # as if time had passed
        run.log({"loss": float(step)}, step)
        assert not run.flush()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert (
        "MLflow did not take metrics: they are kept and offered again (connection refused)" in err
    )
    broken.mended = True
    run._contact.insist()
    assert run.finish()
    assert store.history(run, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert not run.undelivered.exists()
    assert capsys.readouterr().err == ""


def test_a_store_that_fails_slowly_is_asked_seldom(store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store.open()
    broken = store.cut(run)
    clock = [100.0]

    def slow(*_: object, **__: object) -> None:
        broken.calls += 1
        clock[0] += 5
        raise OSError("timed out")

    broken.log_batch = slow
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run.log({"loss": 1.0}, 0)
    for _ in range(500):  # a flush a second; on 5 s of waiting follow 50 s of patience
        run.flush()
        clock[0] += 1
    assert broken.calls == 10


def test_what_stays_undelivered_is_kept_and_delivered_by_the_next_process(
    store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = store.open()
    store.cut(run)
    run.log({"loss": 0.5, "kl": math.nan}, 7)
    run.set_tags({"device": "cpu"})
    run._contact.insist()
    (tmp_path / "x.png").touch()
    assert not run.log_artifact(tmp_path / "x.png")
    assert not run.log_model(tmp_path, image_shape=(1, 8, 8))
    assert not run.finish()

    path = store.root / "mlruns" / f"undelivered-{run.id}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["key"], r["value"], r["step"]) for r in rows[:2]] == [
        ("loss", 0.5, 7),
        ("kl", None, 7),
    ]
    assert {r["tag"] for r in rows[2:]} == {"device", "non_finite.kl"}
    last = capsys.readouterr().err.splitlines()[-1]
    assert str(path) in last
    assert "x.png" in last
    assert f"model {tmp_path.name}" in last
    assert "status FINISHED" in last

    again = store.go_on(run.id)
    assert not path.exists()
    assert store.history(again, "loss") == [(7, 0.5)]
    assert math.isnan(store.history(again, "kl")[0][1])
    assert store.data(again).tags["device"] == "cpu"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(root: Path, port: int) -> Iterator[None]:
    """A real `mlflow server` on this machine's store; killed outright at the end."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{root}/mlruns/mlflow.db", "--workers", "1"),
        *("--artifacts-destination", str(root / "served")),
    ]
    env = {**os.environ, **tracking.store._ENVIRONMENT}
    env.pop("MLFLOW_TRACKING_URI", None)
    server = subprocess.Popen(command, env=env, cwd=root, start_new_session=True)
    try:
        for _ in range(240):
            try:
                tracking.check_store(root)
                break
            except LatentlabError:
                time.sleep(0.5)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def train(run: tracking.Run, steps: range) -> bool:
    delivered = True
    for step in steps:
        run.log({"train/loss": 1 / step, "train/kl": math.nan}, step)
        delivered = run.flush()
    return delivered


@pytest.mark.slow
@pytest.mark.timeout(300)  # MLflow alone waits 247 s a request
def test_a_server_that_dies_in_mid_run_gets_all_of_it_later(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    with serving(store.root, port):
        run = store.open()
        assert train(run, range(1, 4))
        assert run.log_artifact(Path(__file__), "code")
    assert not train(run, range(4, 40))
    assert not run.log_final({"fid": 2.5})
    assert not run.log_artifact(folder / "weights.pt")
    assert not run.log_model(folder, image_shape=(1, 8, 8))
    assert not run.finish()
    assert run.undelivered.read_text().count("\n") == 2 * 36 + 1
    first, last = capsys.readouterr().err.splitlines()
    assert "metrics: they are kept" in first
    assert last.startswith(f"warning: run {run.id} lacks in MLflow: artifacts (weights.pt, model")
    assert last.endswith(
        f"numbers (kept in {run.undelivered}), status FINISHED;"
        " run the same command again once the store is back"
    )
    with pytest.raises(LatentlabError, match=f"MLflow store http://127.0.0.1:{port} does not work"):
        store.go_on(run.id)

    with serving(store.root, port):
        again = store.go_on(run.id)
        assert again.catch_up([("train", "loss", step, 1 / step) for step in range(1, 40)], 1)
        assert again.log_artifact(folder / "weights.pt")
        assert again.log_model(folder, image_shape=(1, 8, 8))
        assert again.finish()
        with tracking.store.open_store(store.root) as there:
            files = [f.path for f in there.list_artifacts(run.id)]
            (model,) = there.get_run(run.id).outputs.model_outputs
            assert there.get_logged_model(model.model_id).status == "READY"
    assert sorted(files) == ["code", "weights.pt"]
    assert not run.undelivered.exists()
    assert store.history(run, "train/loss") == [(step, 1 / step) for step in range(1, 40)]
    unknown = store.history(run, "train/kl")
    assert [step for step, _ in unknown] == [*range(1, 40)]
    assert all(math.isnan(value) for _, value in unknown)
    stored = store.client.get_run(run.id)
    assert (stored.info.status, stored.data.metrics["fid"]) == ("FINISHED", 2.5)
