"""Delivery to a failing store: retries, points that the store has, and the pending file."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from pathlib import Path

import pytest

BATCH = 10  # images a step
Row = tuple[str, str, int, float]


# --- CircuitBreaker ---


def test_failing_store_prints_one_warning_and_loses_no_metric(
    store, capsys: pytest.CaptureFixture
) -> None:
    run = store.open_run()
    broken = store.disconnect(run)
    for step in range(3):
        run._breaker.reset()  # as if time had passed
        run.log({"loss": float(step)}, step)
        assert not run.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "warning: MLflow did not accept metrics (connection refused): they are kept and sent later"
    )
    broken.repaired = True
    run._breaker.reset()
    assert run.finish()
    assert store.history(run, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert not run.pending_file.exists()
    assert capsys.readouterr().err == ""


def test_slow_failures_block_calls_for_ten_times_as_long(
    store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.open_run()
    broken = store.disconnect(run)
    clock = [100.0]

    def slow(*_: object, **__: object) -> None:
        broken.calls += 1
        clock[0] += 5
        raise OSError("timed out")

    broken.log_batch = slow
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run.log({"loss": 1.0}, 0)
    for _ in range(500):  # one flush a second; each failure takes 5 s and blocks 50 s
        run.flush()
        clock[0] += 1
    assert broken.calls == 10


# --- the pending file ---


def test_unsent_metrics_are_written_and_sent_by_the_next_process(
    store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = store.open_run()
    store.disconnect(run)
    run.log({"loss": 0.5, "kl": math.nan}, 7)
    run.set_tags({"device": "cpu"})
    run._breaker.reset()
    (tmp_path / "x.png").touch()
    assert not run.log_artifact(tmp_path / "x.png")
    assert not run.log_model(tmp_path, image_shape=(1, 8, 8))
    assert not run.finish()

    path = store.root / "mlruns" / f"pending-{run.id}.jsonl"
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

    again = store.continue_run(run.id)
    assert not path.exists()
    assert store.history(again, "loss") == [(7, 0.5)]
    assert math.isnan(store.history(again, "kl")[0][1])
    assert store.data(again).tags["device"] == "cpu"


def test_full_disk_does_not_fail_a_finished_training(store, capsys: pytest.CaptureFixture) -> None:
    run = store.open_run()
    store.disconnect(run)
    run.log({"train/loss": 1.0}, 1)
    run.pending_file.with_suffix(".tmp").mkdir()  # so that no file can be written there
    assert not run.finish()
    err = capsys.readouterr().err
    assert "metrics (lost: [Errno 21]" in err
    assert err.endswith(" Run the same command again when the MLflow store works\n")


# --- LoggedSteps: a resumed training repeats steps ---


def rows(first: int, last: int) -> list[Row]:
    """The curves of steps `first` … `last`: train every 50 steps, val every 100."""
    split_every = (("train", 50), ("val", 100))
    return [
        (split, quantity, step * BATCH, value(split, quantity, step))
        for step in range(first, last + 1, 50)
        for split, every in split_every
        if step % every == 0
        for quantity in ("loss", "kl_nats")
    ]


def value(split: str, quantity: str, step: int) -> float:
    """A different value for each point."""
    return step + len(split) / 16 + len(quantity) / 256


def log(run, rows: list[Row]) -> None:
    """Log as a training does, with a flush at each validation."""
    for split, quantity, images, number in rows:
        run.log({f"{split}/{quantity}": number}, images // BATCH)
        if split == "val":
            run.flush()


def expected(last: int) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for split, quantity, images, number in rows(50, last):
        curves.setdefault(f"{split}/{quantity}", []).append((images // BATCH, number))
    return curves


def stored(store, run) -> dict[str, list[tuple[int, float]]]:
    keys = store.data(run).metrics
    return {key: sorted(store.history(run, key)) for key in keys}


def test_repeated_steps_are_stored_once(store) -> None:
    killed = store.open_run()
    log(killed, rows(50, 500))  # flushed up to 500; killed at 530, with a checkpoint at 400
    run = store.continue_run(killed.id)
    assert run.log_missing(rows(50, 400), BATCH)
    log(run, rows(450, 800))
    assert run.finish()
    assert stored(store, run) == expected(800)


def test_points_that_only_the_checkpoint_has_are_sent(store) -> None:
    """The store failed from step 200 on, and the killed process wrote no pending file."""
    killed = store.open_run()
    log(killed, rows(50, 200))
    store.disconnect(killed)
    log(killed, rows(250, 530))
    assert not killed.pending_file.exists()
    run = store.continue_run(killed.id)
    assert run.log_missing(rows(50, 400), BATCH)
    log(run, rows(450, 800))
    assert run.finish()
    assert stored(store, run) == expected(800)


def test_gap_in_the_store_is_filled(store) -> None:
    killed = store.open_run()
    log(killed, rows(50, 100) + rows(300, 400))
    run = store.continue_run(killed.id)
    assert run.log_missing(rows(50, 400), BATCH)
    assert run.finish()
    assert stored(store, run) == expected(400)


@pytest.mark.parametrize("works", [True, False], ids=["store works", "store fails again"])
def test_points_of_the_pending_file_are_stored_once(
    works: bool, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    failed = store.open_run()
    log(failed, rows(50, 200))
    store.disconnect(failed)
    log(failed, rows(250, 500))
    assert not failed.finish("FAILED")
    assert failed.pending_file.exists()
    with monkeypatch.context() as patch:
        if not works:  # the store fails again before the pending file is sent
            patch.setattr(MlflowClient, "log_batch", unreachable)
        run = store.continue_run(failed.id, params={}, tags={})
    assert run.pending_file.exists() is not works
    run._breaker.reset()
    assert run.log_missing(rows(50, 400), BATCH)
    log(run, rows(450, 800))
    assert run.finish()
    assert stored(store, run) == expected(800)
    assert not run.pending_file.exists()


def test_new_run_gets_the_whole_history_if_the_old_run_is_unknown(store) -> None:
    run = store.continue_run("0" * 32)
    assert run.log_missing(rows(50, 400), BATCH)
    log(run, rows(450, 500))
    assert stored(store, run) == expected(500)


def test_results_are_replaced_and_curves_are_not(store) -> None:
    first = store.open_run()
    first.log({"train/loss": 1.0}, 0)
    first.log_final({"fid": 3.0, "test": {"sse": 2.0}})
    run = store.continue_run(first.id)
    run.log({"train/loss": 9.0}, 0)
    run.log_final({"fid": 2.5, "test": {"sse": 1.0}})
    assert run.finish()
    assert store.data(run).metrics == {"train/loss": 1.0, "fid": 2.5, "test/sse": 1.0}


def test_steps_of_a_curve_are_fetched_once(store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching costs one request for each curve. New runs and later flushes need none."""
    from mlflow import MlflowClient

    fetched: list[str] = []
    real = MlflowClient.get_metric_history

    def count(self, run_id: str, key: str):
        fetched.append(key)
        return real(self, run_id, key)

    monkeypatch.setattr(MlflowClient, "get_metric_history", count)
    first = store.open_run()
    log(first, rows(50, 500))
    assert fetched == []
    run = store.continue_run(first.id)
    log(run, rows(50, 800))
    run.log_final({"fid": 1.0})
    assert Counter(fetched) == dict.fromkeys(expected(800), 1)
