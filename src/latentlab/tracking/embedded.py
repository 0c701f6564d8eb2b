"""The database embedded in a project: made whole or not at all, mended when it was moved.

Both are done by one process at a time: the caller holds the lock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

# the columns that hold absolute locations of artifacts
LOCATIONS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("experiments", "artifact_location"),
)


def make(database: Path, client: Callable[[str], Any]) -> None:
    """Make the database if there is none: aside, then renamed; `client(uri)` fills it.

    MLflow's migration is no transaction: a process killed in it leaves tables that every later
    process refuses. What such a process left aside is thrown away.
    """
    if database.exists() and (not database.is_file() or database.stat().st_size):
        return
    fresh = database.with_name(f"{database.name}.new")
    for left in (fresh, Path(f"{fresh}-journal"), Path(f"{database}-journal")):
        left.unlink(missing_ok=True)
    fresh.touch()  # a folder that cannot be written says so now: MLflow tries for 100 s
    client(f"sqlite:///{fresh}")
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(fresh, database)


def mend(database: Path, artifacts: str) -> None:
    """Point every artifact location of a store that was moved or copied to where it is now.

    Also the moment when a database that cannot be written says so: MLflow tries for 100 s.
    """
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
        if "experiments" in tables:
            moved = store.execute(
                "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location"
                " LIKE 'file://%/mlruns/artifacts' AND artifact_location <> ?",
                (artifacts,),
            ).fetchall()
            for (old,), (table, column) in product(moved, LOCATIONS):
                if table in tables:
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                        f" WHERE substr({column} || '/', 1, ?) = ?",
                        (artifacts, len(old) + 1, len(old) + 1, old + "/"),
                    )
        store.execute("COMMIT")
