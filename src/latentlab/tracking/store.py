"""A client of the MLflow store, its experiments and runs, and one batch of metrics."""

from __future__ import annotations

import gc
import json
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from latentlab.tracking import sqlite
from latentlab.tracking.address import (
    artifacts_uri,
    is_server,
    sqlite_uri,
    store_folder,
    tracking_uri,
    without_password,
)
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
_DIGEST_CHARS = 36  # MLflow's limit
MAX_MESSAGE = 600  # characters of an error of MLflow, which often ends with the remedy
MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 100, 100  # MLflow's limits for one request


@contextmanager
def open_store(root: Path) -> Iterator[Any]:
    """Yield an MLflow client. Inside the block, errors of the store become LatentlabErrors."""
    _mlflow()
    failures: tuple[type[Exception], ...] = (*store_errors(), ModuleNotFoundError)  # of a driver
    try:
        with gc_paused():
            client = _connect(root)
        yield client
    except failures as error:
        raise LatentlabError(
            f"the MLflow store {without_password(tracking_uri(root))} does not work:"
            f" {short_message(error).rstrip('.')}. {_remedy(error)} Or set MLFLOW_TRACKING_URI to"
            " another store"
        ) from error


def _remedy(error: Exception) -> str:
    """What to do about an error of the store, as far as its kind is known."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"Install the driver of this database: `pip install {error.name}`."
    if "revision" in text or "out-of-date" in text or "no such column" in text:
        return "The database is of another version of MLflow: run `mlflow db upgrade`."
    return "Check its address, permissions and free disk space."


def experiment_id(client: Any, root: Path, name: str) -> str:
    """Return the id of an experiment. A missing one is created, a deleted one restored.

    $MLFLOW_EXPERIMENT_NAME or $MLFLOW_EXPERIMENT_ID replace `name`, as everywhere in MLflow. Its
    tag with the view of the web page is set.
    """
    chosen, number = (os.environ.get(f"MLFLOW_EXPERIMENT_{key}") for key in ("NAME", "ID"))
    name = chosen or name
    by_number = bool(number) and not chosen
    found = client.get_experiment(number) if by_number else client.get_experiment_by_name(name)
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
    """Log the data set of a run: `name`, `digest`, `source`, and `counts` of images by split.

    `summary`: plain data that are also in the profile, if there are any.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    summary = {"summary": dataset["summary"]} if dataset.get("summary") else {}
    logged = Dataset(
        name=dataset["name"],
        digest=dataset["digest"][:_DIGEST_CHARS],
        source_type="latentlab",
        source=json.dumps({"name": dataset["source"]}),
        profile=json.dumps({**dataset["counts"], **summary}),
    )
    inputs = [DatasetInput(logged, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, inputs)
    except store_errors() as error:
        # Two stages that start together both insert the data set: MLflow 3.17 looks for it first,
        # but not in the same transaction. Now it is there.
        if not any(word in str(error).lower() for word in ("unique", "duplicate")):
            raise
        client.log_inputs(run_id, inputs)


def short_message(error: Exception) -> str:
    """Return the first line of an error: ≤ 600 characters, no passwords from addresses."""
    text = without_password((str(error).strip() or type(error).__name__).splitlines()[0])
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE].rpartition(' ')[0]} …"


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
        if uri == sqlite_uri(root):
            database = folder / "mlflow.db"
            sqlite.create(database, client)
            sqlite.update_locations(database, artifacts_uri(root))
        return client(uri)
