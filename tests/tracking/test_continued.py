"""A training that was killed and repeats steps: one point per (metric, step), none lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from latentlab.contracts import LatentlabError

BATCH = 10  # images a step
Row = tuple[str, str, int, float]


def rows(first: int, last: int) -> list[Row]:
    """What a training hands over for steps `first` … `last`: train every 50, val every 100."""
    split_every = (("train", 50), ("val", 100))
    return [
        (split, quantity, step * BATCH, value(split, quantity, step))
        for step in range(first, last + 1, 50)
        for split, every in split_every
        if step % every == 0
        for quantity in ("loss", "kl_nats")
    ]


def value(split: str, quantity: str, step: int) -> float:
    """A number that tells its place."""
    return step + len(split) / 16 + len(quantity) / 256


def log(run, some: list[Row]) -> None:
    """As a training does: flushed at each validation."""
    for split, quantity, images, number in some:
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
    killed = store.open()
    log(killed, rows(50, 500))  # flushed up to 500; killed at 530, its last checkpoint at 400
    run = store.go_on(killed.id)
    assert run.catch_up(rows(50, 400), BATCH)
    log(run, rows(450, 800))
    assert run.finish()
    assert stored(store, run) == expected(800)


def test_what_only_the_checkpoint_knows_is_not_lost(store) -> None:
    """The store stopped taking points at 200, the process was killed without writing a file."""
    killed = store.open()
    log(killed, rows(50, 200))
    store.cut(killed)
    log(killed, rows(250, 530))
    assert not killed.undelivered.exists()
    run = store.go_on(killed.id)
    assert run.catch_up(rows(50, 400), BATCH)
    log(run, rows(450, 800))
    assert run.finish()
    assert stored(store, run) == expected(800)


def test_a_gap_in_the_store_is_filled(store) -> None:
    killed = store.open()
    log(killed, rows(50, 100) + rows(300, 400))
    run = store.go_on(killed.id)
    assert run.catch_up(rows(50, 400), BATCH)
    assert run.finish()
    assert stored(store, run) == expected(400)


@pytest.mark.parametrize("mended", [True, False], ids=["store back", "store still gone"])
def test_points_of_the_undelivered_file_come_once(
    mended: bool, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    failed = store.open()
    log(failed, rows(50, 200))
    store.cut(failed)
    log(failed, rows(250, 500))
    assert not failed.finish("FAILED")
    assert failed.undelivered.exists()
    with monkeypatch.context() as patch:
        if not mended:  # continued, and gone again before anything was delivered
            patch.setattr(MlflowClient, "log_batch", unreachable)
        run = store.go_on(failed.id, params={}, tags={})
    assert run.undelivered.exists() is not mended
    run._contact.insist()
    assert run.catch_up(rows(50, 400), BATCH)
    log(run, rows(450, 800))
    assert run.finish()
    assert stored(store, run) == expected(800)
    assert not run.undelivered.exists()


def test_the_same_curves_fill_a_new_run_where_the_old_one_is_unknown(store) -> None:
    run = store.go_on("0" * 32)
    assert run.catch_up(rows(50, 400), BATCH)
    log(run, rows(450, 500))
    assert stored(store, run) == expected(500)


def test_results_are_replaced_curves_are_not(store) -> None:
    first = store.open()
    first.log({"train/loss": 1.0}, 0)
    first.log_final({"fid": 3.0, "test": {"sse": 2.0}})
    run = store.go_on(first.id)
    run.log({"train/loss": 9.0}, 0)
    run.log_final({"fid": 2.5, "test": {"sse": 1.0}})
    assert run.finish()
    assert store.data(run).metrics == {"train/loss": 1.0, "fid": 2.5, "test/sse": 1.0}


def test_a_curve_is_asked_for_once(store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking costs a request a curve: neither new runs nor later flushes pay it."""
    from mlflow import MlflowClient

    asked: list[str] = []
    real = MlflowClient.get_metric_history

    def count(self, run_id: str, key: str):
        asked.append(key)
        return real(self, run_id, key)

    monkeypatch.setattr(MlflowClient, "get_metric_history", count)
    first = store.open()
    log(first, rows(50, 500))
    assert asked == []
    run = store.go_on(first.id)
    log(run, rows(50, 800))
    run.log_final({"fid": 1.0})
    assert Counter(asked) == dict.fromkeys(expected(800), 1)


def test_a_model_is_logged_once_a_run(store, tmp_path: Path) -> None:
    """A command that is run again, to deliver what is missing, does not double what is there."""
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    first = store.open()
    assert first.log_model(folder, image_shape=(1, 8, 8))
    run = store.go_on(first.id)
    assert run.log_model(folder, image_shape=(1, 8, 8))
    assert len(store.client.get_run(run.id).outputs.model_outputs) == 1
    experiment = store.client.get_run(run.id).info.experiment_id
    assert len(store.client.search_logged_models([experiment])) == 1


def test_a_disk_that_takes_no_file_does_not_stop_a_finished_training(
    store, capsys: pytest.CaptureFixture
) -> None:
    run = store.open()
    store.cut(run)
    run.log({"train/loss": 1.0}, 1)
    run.undelivered.with_suffix(".tmp").mkdir()  # nothing can be written there
    assert not run.finish()
    err = capsys.readouterr().err
    assert "numbers (lost: [Errno 21]" in err
    assert err.endswith("; run the same command again once the store is back\n")


def test_bad_names_are_refused_while_catching_up(store) -> None:
    with pytest.raises(LatentlabError, match="cannot name a metric"):
        store.open().catch_up([("val", "*", 10, 1.0)], BATCH)
