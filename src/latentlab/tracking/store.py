"""Address of the MLflow store, a check of the server, a client, and one batch of metrics."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import sqlite3
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from latentlab.tracking import sqlite
from latentlab.tracking.view import view_tag
from latentlab.utils.errors import LatentlabError

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # model.py names the requirements of a logged model
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # with MLflow's defaults, a silent server blocks for 247 s
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # takes 3/4 of the start time of `mlflow ui`
}
_PROBE_SECONDS = 5
_DIGEST_CHARS = 36  # MLflow's limit
MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 100, 100  # MLflow's limits for one request


def tracking_uri(root: Path) -> str:
    """Return $MLFLOW_TRACKING_URI, or the address of the database in the project `root`.

    $DVC_ROOT replaces `root` if it is set: `dvc exp run --queue` runs in a temporary copy of the
    project. Raises LatentlabError if an SQLite address cannot contain the path.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(root)


def check_store(root: Path) -> None:
    """Send one request to the tracking server, with a time limit. Other stores are not checked.

    Any HTTP status below 500 passes, because a server may require a login for every page. Raises
    LatentlabError with the server's address if the server does not answer within 6 s.
    """
    uri = tracking_uri(root)
    if not is_server(uri):
        return
    reasons: list[str] = []
    # in a thread, because a timeout does not cover the DNS lookup of the host name
    probe = threading.Thread(target=lambda: reasons.extend(_probe(uri)), daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS + 1)
    if probe.is_alive():
        reasons = [f"no answer in {_PROBE_SECONDS} s"]
    if reasons:
        raise LatentlabError(
            f"the tracking server {without_password(uri)} of MLFLOW_TRACKING_URI cannot be reached"
            f" ({reasons[0]}): start it (`mlflow server --host … --port …`), or"
            " `unset MLFLOW_TRACKING_URI` to use the database in the project"
        )


@contextmanager
def open_store(root: Path) -> Iterator[Any]:
    """Yield an MLflow client. Inside the block, errors of the store become LatentlabErrors."""
    _mlflow()
    try:
        with gc_paused():
            client = _connect(root)
        yield client
    except store_errors() as error:
        raise LatentlabError(
            f"the MLflow store {without_password(tracking_uri(root))} does not work:"
            f" {short_message(error)}. Check its address, permissions and free disk space."
            " After an update of MLflow, run `mlflow db upgrade`. Or set MLFLOW_TRACKING_URI to"
            " another store"
        ) from error


def experiment_id(client: Any, root: Path, name: str) -> str:
    """Return the id of an experiment. A missing one is created, a deleted one restored.

    Its tag with the view of the web page is set.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        # a server chooses the folder; for a local store, MLflow's default is the working directory
        location = None if is_server(tracking_uri(root)) else artifacts_uri(root)
        try:
            return client.create_experiment(name, artifact_location=location, tags=view_tag())
        except _mlflow().exceptions.MlflowException:
            found = client.get_experiment_by_name(name)  # created by another process just now?
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for key, value in view_tag().items():
        if found.tags.get(key) != value:
            client.set_experiment_tag(found.experiment_id, key, value)
    return found.experiment_id


def find_run(client: Any, run_id: str) -> Any:
    """Return the run, or None if the store does not have it or it was deleted."""
    try:
        run = client.get_run(run_id) if run_id else None
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run is not None and run.info.lifecycle_stage == "active" else None


def log_batch(
    client: Any,
    run_id: str,
    *,
    metrics: Iterable[tuple[str, float, int, int]] = (),
    params: Iterable[tuple[str, str]] = (),
    tags: Iterable[tuple[str, str]] = (),
) -> None:
    """Send one request with metrics (key, value, ms since 1970, step), params and tags.

    At most MAX_METRICS, MAX_PARAMS and MAX_TAGS of them. Raises the store's error.
    """
    from mlflow.entities import Metric, Param, RunTag

    client.log_batch(
        run_id,
        metrics=[Metric(*metric) for metric in metrics],
        params=[Param(*param) for param in params],
        tags=[RunTag(*tag) for tag in tags],
    )


def log_dataset(client: Any, run_id: str, dataset: Mapping[str, Any]) -> None:
    """Log the data set of a run: `name`, `digest`, `source`, and `counts` of images by split."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    logged = Dataset(
        name=dataset["name"],
        digest=dataset["digest"][:_DIGEST_CHARS],
        source_type="latentlab",
        source=json.dumps({"name": dataset["source"]}),
        profile=json.dumps(dataset["counts"]),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(logged, [context])])


def store_folder(root: Path) -> Path:
    """Return the absolute path of the project's folder mlruns, also if it does not exist yet."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve() / "mlruns"


def artifacts_uri(root: Path) -> str:
    """Return the address of the folder that holds the artifacts of a local store."""
    return (store_folder(root) / "artifacts").as_uri()


def is_server(uri: str) -> bool:
    """Return True if the store is an HTTP server."""
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """Return an address without its user name and password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def short_message(error: Exception) -> str:
    """Return the first line of an error: ≤ 200 characters, no passwords from addresses."""
    return without_password((str(error).strip() or type(error).__name__).splitlines()[0])[:200]


def store_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of a failing store. MLflow wraps most database errors, but not all."""
    with gc_paused():
        from sqlalchemy.exc import SQLAlchemyError

    return (_mlflow().exceptions.MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable garbage collection inside the block.

    An import creates objects that stay. With torch loaded, each full collection visits a million
    objects and frees none (cost: `python bench/tracking.py`).
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _sqlite_uri(root: Path) -> str:
    database = store_folder(root) / "mlflow.db"
    if forbidden := set("?%") & set(str(database)):
        raise LatentlabError(
            f"the project's folder {database.parents[1]} contains {min(forbidden)!r}, which is not"
            " allowed in an SQLite address: rename the folder, or set MLFLOW_TRACKING_URI to"
            " another store"
        )
    return f"sqlite:///{database}"


def _probe(uri: str) -> Iterator[str]:
    """Yield the reason why the server does not answer. Yield nothing if it answers."""
    address = without_password(uri).rstrip("/") + "/health"
    try:
        urllib.request.urlopen(address, timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= 500:
                yield f"HTTP status {error.code}"
    except (OSError, ValueError) as error:  # ValueError: not a valid address
        yield str(getattr(error, "reason", error))


def _mlflow() -> Any:
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    with gc_paused():
        import mlflow

    # MLflow 3.17 with SQLAlchemy 2.1: a user cannot change this
    noload = "The ``noload`` loader strategy is deprecated"
    warnings.filterwarnings("ignore", noload, DeprecationWarning)
    # urllib3 prints a line for each retry; delivery.py prints one warning instead
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return mlflow


def _connect(root: Path) -> Any:
    """Return a client. A lock lets one process at a time create or update the local database."""
    uri, client = tracking_uri(root), _mlflow().MlflowClient
    if is_server(uri):
        return client(uri)
    folder = store_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    # MLflow does not lock: two processes that migrate one new database destroy it
    with FileLock(folder / ".lock"):
        if uri == _sqlite_uri(root):
            database = folder / "mlflow.db"
            sqlite.create(database, client)
            sqlite.update_locations(database, artifacts_uri(root))
        return client(uri)
