"""The SQLite database in a project: create it, and update its paths after the project was moved.

The caller holds a lock, so only one process at a time runs these functions.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

from latentlab.utils.files import flush

# the columns that hold absolute addresses of artifacts
LOCATIONS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("experiments", "artifact_location"),
)


def create(database: Path, client: Callable[[str], Any]) -> None:
    """Create the database if it does not exist: under another name, which is then renamed.

    `client(uri)` creates the tables. MLflow's migration is not one transaction. If a process is
    killed during it, later processes refuse the half-made tables. Such files are deleted here.
    """
    if database.exists() and (not database.is_file() or database.stat().st_size):
        return
    temporary = database.with_name(f"{database.name}.new")
    for leftover in (temporary, Path(f"{temporary}-journal"), Path(f"{database}-journal")):
        leftover.unlink(missing_ok=True)
    temporary.touch()  # fails at once in a read-only folder; MLflow would retry for 100 s
    client(f"sqlite:///{temporary}")
    with temporary.open("rb+") as file:
        flush(file.fileno())
    os.replace(temporary, database)


def update_locations(database: Path, artifacts: str) -> None:
    """Set all artifact addresses of a moved or copied project to its new folder `artifacts`.

    Fails at once if the database is read-only. MLflow would retry for 100 s.
    """
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
        if "experiments" in tables:
            outdated = store.execute(
                "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location"
                " LIKE 'file://%/mlruns/artifacts' AND artifact_location <> ?",
                (artifacts,),
            ).fetchall()
            for (old,), (table, column) in product(outdated, LOCATIONS):
                if table in tables:
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                        f" WHERE substr({column} || '/', 1, ?) = ?",
                        (artifacts, len(old) + 1, len(old) + 1, old + "/"),
                    )
        store.execute("COMMIT")
