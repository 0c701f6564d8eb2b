"""The project's database: relocated projects, several processes, and killed processes.

The environment variable LATENTLAB_KILLS sets the number of kills in each test (default 5).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from latentlab import tracking

KILLS = int(os.environ.get("LATENTLAB_KILLS", "5"))
PROCESSES = 8
STEPS = 4000


# --- moved projects ---


def test_moved_project_keeps_its_artifacts(store, tmp_path: Path) -> None:
    from mlflow.tracking._tracking_service import utils

    text, folder = tmp_path / "x.txt", tmp_path / "vae"
    text.write_text("x")
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    run = store.open_run()
    run.log_artifact(text)
    run.log_model(folder, image_shape=(1, 8, 8))
    run.finish()

    new = tmp_path / "elsewhere, with a#b ü"
    shutil.move(store.root, new)
    utils._artifact_repos_cache.clear()  # a new process has no cache
    moved = type(store)(new)
    late = moved.continue_run(run.id)
    text.write_text("y")
    late.log_artifact(text, "late")

    with closing(sqlite3.connect(new / "mlruns" / "mlflow.db")) as database:
        for table, column in tracking.sqlite.LOCATIONS:
            for (location,) in database.execute(f"SELECT {column} FROM {table}"):
                assert str(store.root) not in location
    there = moved.client
    assert {f.path for f in there.list_artifacts(run.id)} == {"x.txt", "late"}
    (output,) = there.get_run(run.id).outputs.model_outputs
    model = there.get_logged_model(output.model_id)
    location = Path(url2pathname(urlsplit(model.artifact_location).path))
    assert location.is_relative_to(new)
    assert (location / "artifacts" / "vae" / "weights.pt").read_text() == "w"


def test_artifact_locations_outside_the_project_do_not_change(store) -> None:
    store.open_run()
    foreign = {"a": "s3://bucket/mlruns/artifacts", "b": f"file://{store.root}x/mlruns/artifacts2"}
    for name, location in foreign.items():
        store.client.create_experiment(name, artifact_location=location)
    store.open_run()
    for name, location in foreign.items():
        assert store.client.get_experiment_by_name(name).artifact_location == location


# --- several processes ---


@pytest.fixture
def processes() -> Any:
    """A context that starts processes. Slow imports are done once, before the fork."""
    context = multiprocessing.get_context("forkserver")
    store = "mlflow.store.tracking.sqlalchemy_store"
    context.set_forkserver_preload(["pytest", "mlflow", store, "alembic.command"])
    return context


def arguments(name: str) -> dict[str, Any]:
    return {"experiment": "digits", "name": name, "params": {"seed": 0}, "tags": {}}


def is_intact(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as store:
        return store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def schema(database: Path) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as store:
        version = store.execute("SELECT * FROM alembic_version").fetchall()
        return {*version, *store.execute("SELECT type, name, sql FROM sqlite_master")}


def log_run(root: Path, name: str, gate: Any) -> None:
    gate.wait()
    run = tracking.open_run(root, **arguments(name))
    for step in range(1, 4):
        run.log({"train/loss": int(name) + step / 8}, step)
        run.flush()
    run.log_final({"fid": float(name)})
    run.log_artifact(root / "files" / name)
    sys.exit(not run.finish())


def test_eight_processes_create_and_share_a_new_store(new_store, processes) -> None:
    (new_store.root / "files").mkdir()
    names = [str(number) for number in range(PROCESSES)]
    gate = processes.Barrier(PROCESSES)
    started = []
    for name in names:
        (new_store.root / "files" / name).write_text(name)
        started.append(processes.Process(target=log_run, args=(new_store.root, name, gate)))
        started[-1].start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * PROCESSES

    there = new_store.client
    assert is_intact(new_store.database)
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


# --- killed processes ---


def kill_when(process: Any, due: Callable[[], bool]) -> bool:
    """Send SIGKILL when `due()` is true. Return False if the process ended before."""
    process.start()
    end = time.monotonic() + 60
    while process.exitcode is None and not due():
        assert time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def create_store(root: Path) -> None:
    with tracking.store.open_store(root):
        pass


def test_kill_during_creation_leaves_no_database_or_a_complete_one(
    new_store, empty_store: Path, processes
) -> None:
    complete = (empty_store / "mlruns" / "mlflow.db").stat().st_size
    folder, interrupted = new_store.database.parent, 0

    def written() -> int:
        sizes = [-1]
        for name in ("mlflow.db", "mlflow.db.new"):
            with suppress(FileNotFoundError):
                sizes.append((folder / name).stat().st_size)
        return max(sizes)

    for _ in range(KILLS):
        moment = random.randrange(complete)
        process = processes.Process(target=create_store, args=(new_store.root,))
        kill_when(process, lambda moment=moment: written() > moment)
        if new_store.database.exists():
            assert is_intact(new_store.database)
            assert schema(new_store.database) == schema(empty_store / "mlruns" / "mlflow.db")
            new_store.database.unlink()
        else:
            interrupted += 1
    assert interrupted
    run = new_store.open_run()
    run.log({"train/loss": 1.0}, 1)
    assert run.finish()
    assert is_intact(new_store.database)
    assert {path.name for path in folder.iterdir()} == {".lock", "mlflow.db"}


def log_many(root: Path, run_id: str) -> None:
    run = tracking.continue_run(root, run_id, **arguments("killed"))
    for step in range(1, STEPS + 1):
        run.log({"train/loss": step / 8, "val/loss": step / 16}, step)
        if step % 250 == 0:
            run.flush()
    run.finish()


def test_kill_during_logging_damages_no_run(store, processes) -> None:
    other = store.open_run(name="other")
    other.log({"train/loss": 0.5}, 1)
    assert other.finish()
    killed = store.open_run(name="killed")

    def num_stored() -> int:
        with closing(sqlite3.connect(store.database, timeout=60)) as database:
            count = "SELECT count(*) FROM metrics WHERE run_uuid = ?"
            return database.execute(count, (killed.id,)).fetchone()[0]

    killed_in_time = 0
    for _ in range(KILLS):
        before, wait = num_stored(), random.random() / 10
        process = processes.Process(target=log_many, args=(store.root, killed.id))

        def due(before: int = before, wait: float = wait) -> bool:
            if num_stored() == before < 2 * STEPS:
                return False
            time.sleep(wait)
            return True

        killed_in_time += kill_when(process, due)
        assert is_intact(store.database)
    assert killed_in_time

    log_many(store.root, killed.id)  # without a kill
    assert is_intact(store.database)
    for key, unit in {"train/loss": 8, "val/loss": 16}.items():
        assert Counter(store.history(killed, key)) == dict.fromkeys(
            ((step, step / unit) for step in range(1, STEPS + 1)), 1
        )
    assert store.client.get_run(killed.id).info.status == "FINISHED"
    assert store.history(other, "train/loss") == [(1, 0.5)]
    assert store.client.get_run(other.id).info.status == "FINISHED"
