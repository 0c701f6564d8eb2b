"""Where the store is, whether it answers, and a client of it: MLflow's door, opened one by one."""

from __future__ import annotations

import gc
import logging
import os
import re
import sqlite3
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from latentlab.tracking import embedded
from latentlab.tracking.errors import mistake

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a logged model's requirements are ours to name
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # with MLflow's own patience a dead server hangs 247 s
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # three quarters of the start of `mlflow ui`
}
_PROBE_SECONDS = 5


def tracking_uri(root: Path) -> str:
    """$MLFLOW_TRACKING_URI, else the embedded store of the project `root`.

    $DVC_ROOT goes before `root`: `dvc exp run --queue` works in a copy that is deleted afterwards.
    Raises LatentlabError if the project's path cannot be written as an sqlite address.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or _embedded_uri(root)


def check_store(root: Path) -> None:
    """Ask a tracking server once whether it is there, within 10 s; other stores pass unasked.

    Any HTTP answer below 500 counts (a server may want a login for everything). Raises
    LatentlabError, naming the server, if there is none.
    """
    uri = tracking_uri(root)
    if not is_server(uri):
        return
    reasons: list[str] = []
    # a thread, because no time-out covers the look-up of a host name
    probe = threading.Thread(target=lambda: reasons.extend(_probe(uri)), daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS + 1)
    if probe.is_alive():
        reasons = [f"no answer in {_PROBE_SECONDS} s"]
    if reasons:
        raise mistake(
            f"the tracking server {shown(uri)} of MLFLOW_TRACKING_URI cannot be reached"
            f" ({reasons[0]}): start it (`mlflow server --host … --port …`), or"
            " `unset MLFLOW_TRACKING_URI` to use the embedded store"
        )


@contextmanager
def open_store(root: Path) -> Iterator[Any]:
    """A client; inside the block, a failure of the store is a LatentlabError."""
    _mlflow()
    try:
        with collector_paused():
            client = _connect(root)
        yield client
    except failures() as error:
        raise mistake(
            f"the MLflow store {shown(tracking_uri(root))} does not work: {short(error)}. Check"
            " its address, permissions and free space (after an update of MLflow: `mlflow db"
            " upgrade`), or name another store in MLFLOW_TRACKING_URI"
        ) from error


def experiment_id(client: Any, root: Path, name: str) -> str:
    """The experiment's id; made or restored if need be."""
    found = client.get_experiment_by_name(name)
    if found is None:
        # a server has its own place for artifacts; MLflow's place for local ones is the cwd
        place = None if is_server(tracking_uri(root)) else artifacts_uri(root)
        try:
            return client.create_experiment(name, artifact_location=place)
        except _mlflow().exceptions.MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def find_run(client: Any, run_id: str) -> Any:
    """The run, or None if this store does not have it or has it in its bin."""
    try:
        run = client.get_run(run_id) if run_id else None
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run is not None and run.info.lifecycle_stage == "active" else None


def store_folder(root: Path) -> Path:
    """The project's folder mlruns, absolute, whether or not it is there."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve() / "mlruns"


def artifacts_uri(root: Path) -> str:
    """Where a local store puts its artifacts."""
    return (store_folder(root) / "artifacts").as_uri()


def is_server(uri: str) -> bool:
    """Whether MLflow speaks HTTP with the store."""
    return urlsplit(uri).scheme in ("http", "https")


def shown(uri: str) -> str:
    """The address without the user and password it may hold."""
    return re.sub(r"//[^/@]*@", "//", uri)


def short(error: Exception) -> str:
    """The first line of an error, at most 200 characters, without passwords of addresses."""
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])[:200]


def failures() -> tuple[type[Exception], ...]:
    """How a store fails: MLflow wraps most, but not all, of what its network and database raise."""
    with collector_paused():
        from sqlalchemy.exc import SQLAlchemyError

    return (_mlflow().exceptions.MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection inside: imports make objects that stay, beside the million of torch.

    Each full collection would look at all of them, for nothing (`bench/tracking.py` has the cost).
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _embedded_uri(root: Path) -> str:
    database = store_folder(root) / "mlflow.db"
    if bad := set("?%") & set(str(database)):
        raise mistake(
            f"the project's folder {database.parents[1]} holds {min(bad)!r}, which no sqlite"
            " address can carry: rename the folder, or name a store in MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{database}"


def _probe(uri: str) -> Iterator[str]:
    """Yield the reason why the server does not answer, if it does not."""
    try:
        urllib.request.urlopen(shown(uri).rstrip("/") + "/health", timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= 500:
                yield f"HTTP status {error.code}"
    except (OSError, ValueError) as error:  # ValueError: not an address
        yield str(getattr(error, "reason", error))


def _mlflow() -> Any:
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    with collector_paused():
        import mlflow

    # MLflow 3.17 on SQLAlchemy 2.1, its own affair: nothing a caller could do
    noload = "The ``noload`` loader strategy is deprecated"
    warnings.filterwarnings("ignore", noload, DeprecationWarning)
    # its retries would be told line by line, beside our one warning
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return mlflow


def _connect(root: Path) -> Any:
    """A client of the store; a local store is made and mended by one process at a time."""
    uri, client = tracking_uri(root), _mlflow().MlflowClient
    if is_server(uri):
        return client(uri)
    folder = store_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    # two processes that migrate one fresh database destroy it: MLflow has no lock of its own
    with FileLock(folder / ".lock"):
        if uri == _embedded_uri(root):
            database = folder / "mlflow.db"
            embedded.make(database, client)
            embedded.mend(database, artifacts_uri(root))
        return client(uri)
