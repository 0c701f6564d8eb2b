"""Several processes on one embedded store, and processes that are killed while they write.

`LATENTLAB_KILLS` sets how often each kill is repeated, at moments drawn anew (5 if not set).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from latentlab import tracking

KILLS = int(os.environ.get("LATENTLAB_KILLS", "5"))
PROCESSES = 8
STEPS = 4000

pytestmark = pytest.mark.slow


@pytest.fixture
def processes() -> Any:
    """Starts real processes. They share only what is imported, which is no part of a race."""
    context = multiprocessing.get_context("forkserver")
    store = "mlflow.store.tracking.sqlalchemy_store"
    context.set_forkserver_preload(["pytest", "mlflow", store, "alembic.command"])
    return context


def described(name: str) -> dict[str, Any]:
    return {"experiment": "digits", "name": name, "params": {"seed": 0}, "tags": {}}


def sound(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as store:
        return store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def schema(database: Path) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as store:
        version = store.execute("SELECT * FROM alembic_version").fetchall()
        return {*version, *store.execute("SELECT type, name, sql FROM sqlite_master")}


# --- at once


def whole_run(root: Path, name: str, gate: Any) -> None:
    gate.wait()
    run = tracking.open_run(root, **described(name))
    for step in range(1, 4):
        run.log({"train/loss": int(name) + step / 8}, step)
        run.flush()
    run.log_final({"fid": float(name)})
    run.log_artifact(root / "files" / name)
    sys.exit(not run.finish())


def test_eight_processes_make_and_share_a_new_store(new_store, processes) -> None:
    (new_store.root / "files").mkdir()
    names = [str(number) for number in range(PROCESSES)]
    gate = processes.Barrier(PROCESSES)
    started = []
    for name in names:
        (new_store.root / "files" / name).write_text(name)
        started.append(processes.Process(target=whole_run, args=(new_store.root, name, gate)))
        started[-1].start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * PROCESSES

    there = new_store.client
    assert sound(new_store.database)
    experiments = [found.name for found in there.search_experiments()]
    assert sorted(experiments) == ["Default", "digits"]
    runs = there.search_runs([there.get_experiment_by_name("digits").experiment_id])
    assert {run.info.run_name for run in runs} == {*names}
    for run in runs:
        name, id_ = run.info.run_name, run.info.run_id
        curve = [(m.step, m.value) for m in there.get_metric_history(id_, "train/loss")]
        assert curve == [(step, int(name) + step / 8) for step in range(1, 4)]
        assert run.data.metrics["fid"] == float(name)
        assert run.info.status == "FINISHED"
        (file,) = Path(run.info.artifact_uri.removeprefix("file://")).iterdir()
        assert file.read_text() == name


# --- killed


def kill_when(process: Any, due: Callable[[], bool]) -> bool:
    """SIGKILL once `due`; False if the process was faster."""
    process.start()
    end = time.monotonic() + 60
    while process.exitcode is None and not due():
        assert time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def make_store(root: Path) -> None:
    with tracking.store.open_store(root):
        pass


def test_a_kill_while_the_store_is_made_leaves_none_or_a_whole_one(
    new_store, empty_store: Path, processes
) -> None:
    complete = (empty_store / "mlruns" / "mlflow.db").stat().st_size
    folder, cut_short = new_store.database.parent, 0

    def written() -> int:
        sizes = [-1]
        for name in ("mlflow.db", "mlflow.db.new"):
            with suppress(FileNotFoundError):
                sizes.append((folder / name).stat().st_size)
        return max(sizes)

    for _ in range(KILLS):
        moment = random.randrange(complete)
        process = processes.Process(target=make_store, args=(new_store.root,))
        kill_when(process, lambda moment=moment: written() > moment)
        if new_store.database.exists():
            assert sound(new_store.database)
            assert schema(new_store.database) == schema(empty_store / "mlruns" / "mlflow.db")
            new_store.database.unlink()
        else:
            cut_short += 1
    assert cut_short
    run = new_store.open()
    run.log({"train/loss": 1.0}, 1)
    assert run.finish()
    assert sound(new_store.database)
    assert {path.name for path in folder.iterdir()} == {".lock", "mlflow.db"}


def log_much(root: Path, run_id: str) -> None:
    run = tracking.continue_run(root, run_id, **described("killed"))
    for step in range(1, STEPS + 1):
        run.log({"train/loss": step / 8, "val/loss": step / 16}, step)
        if step % 250 == 0:
            run.flush()
    run.finish()


def test_a_kill_while_a_run_is_written_harms_no_run(store, processes) -> None:
    other = store.open(name="other")
    other.log({"train/loss": 0.5}, 1)
    assert other.finish()
    killed = store.open(name="killed")

    def delivered() -> int:
        with closing(sqlite3.connect(store.database, timeout=60)) as database:
            count = "SELECT count(*) FROM metrics WHERE run_uuid = ?"
            return database.execute(count, (killed.id,)).fetchone()[0]

    in_the_middle = 0
    for _ in range(KILLS):
        begun, wait = delivered(), random.random() / 10
        process = processes.Process(target=log_much, args=(store.root, killed.id))

        def due(begun: int = begun, wait: float = wait) -> bool:
            if delivered() == begun < 2 * STEPS:
                return False
            time.sleep(wait)
            return True

        in_the_middle += kill_when(process, due)
        assert sound(store.database)
    assert in_the_middle

    log_much(store.root, killed.id)  # to its end
    assert sound(store.database)
    for key, unit in {"train/loss": 8, "val/loss": 16}.items():
        assert Counter(store.history(killed, key)) == dict.fromkeys(
            ((step, step / unit) for step in range(1, STEPS + 1)), 1
        )
    assert store.client.get_run(killed.id).info.status == "FINISHED"
    assert store.history(other, "train/loss") == [(1, 0.5)]
    assert store.client.get_run(other.id).info.status == "FINISHED"
