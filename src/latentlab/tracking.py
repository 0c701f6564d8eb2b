"""The MLflow run of a model: opened by train, continued by evaluate, read with `make ui`.

The store is a server named by $MLFLOW_TRACKING_URI, or a database embedded in the project:
mlruns/mlflow.db, with its artifacts in mlruns/artifacts. Before a training starts, a store that
does not work is an error; once it runs, it is a warning, and the numbers wait for delivery.
MLflow is imported at first use, for it takes more than a second.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from filelock import FileLock

from latentlab.contracts import LatentlabError

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
_BATCH = 1000  # metrics a request, MLflow's limit; for params and tags it is 100
_PARAM_CHARS, _TAG_CHARS = 6000, 5000  # MLflow's limits, the second as its strictest store has it
_NAME = re.compile(r"(?=.{1,250}$)\w[\w .:-]*(/\w[\w .:-]*)*")
_SERVED_WITH = ("torch", "torchvision", "lightning", "jsonargparse", "numpy", "pyyaml")
# the columns that hold absolute locations of artifacts
_LOCATIONS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("experiments", "artifact_location"),
)

Status = Literal["FINISHED", "FAILED", "KILLED"]


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
    if not _is_server(uri):
        return
    reasons: list[str] = []
    # a thread, because no time-out covers the look-up of a host name
    probe = threading.Thread(target=lambda: reasons.extend(_probe(uri)), daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS + 1)
    if probe.is_alive():
        reasons = [f"no answer in {_PROBE_SECONDS} s"]
    if reasons:
        raise LatentlabError(
            f"the tracking server {_shown(uri)} of MLFLOW_TRACKING_URI cannot be reached"
            f" ({reasons[0]}): start it (`mlflow server --host … --port …`), or"
            " `unset MLFLOW_TRACKING_URI` to use the embedded store"
        )


def open_run(
    root: Path,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Run:
    """Start a run called `name`. Nested `params` become dotted keys; long values are cut at 6000.

    An experiment deleted in MLflow's interface is restored. Raises LatentlabError if the store
    does not work.
    """
    with _store(root) as client:
        run = client.create_run(_experiment(client, root, experiment), run_name=name)
        opened = Run(client, run.info.run_id, _home(root) / "mlruns")
        _describe(client, run, params, tags)
    return opened


def continue_run(
    root: Path,
    run_id: str,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Run:
    """Resume a run, and deliver what an earlier process could not; a new run if it is unknown here.

    MLflow lets no param change: a value that differs from the first one becomes the tag
    `changed.<param>`. `name` and `experiment` serve the new run only. A run is unknown if its
    weights came from another machine, or if it was deleted: one printed line then says so. Raises
    LatentlabError if the store does not work.
    """
    with _store(root) as client:
        run = _find_run(client, run_id)
        if run is not None:
            client.update_run(run_id, status="RUNNING")
            _describe(client, run, params, tags)
    if run is None:
        opened = open_run(root, experiment=experiment, name=name, params=params, tags=tags)
        print(f"{name}: no run {run_id or '(none)'} in this MLflow store; opened {opened.id}")
        return opened
    continued = Run(client, run_id, _home(root) / "mlruns")
    continued._take_undelivered()
    return continued


class Run:
    """One MLflow run. Numbers wait in memory until `flush`; no failure of the store stops a caller.

    What the store does not take (one warning a loss of contact) is offered again at the next flush.
    After a failure that took t seconds, nothing is tried for 10 t: a server that swallows requests
    slows a training by a tenth at most. What is left at `finish` goes to a file beside the store.
    """

    def __init__(self, client: Any, run_id: str, folder: Path) -> None:
        self.id = run_id
        self.undelivered = folder / f"undelivered-{run_id}.jsonl"
        self._client = client
        self._metrics: list[tuple[str, float, int, int]] = []  # key, value, ms since 1970, step
        self._tags: dict[str, str] = {}
        self._non_finite: set[str] = set()
        self._lost: list[str] = []  # artifacts
        self._failing = False
        self._patience = -math.inf  # time.monotonic() before which the store is not asked again

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Note values under names like `train/loss`; delivered by `flush`.

        NaN is stored as NaN. So is ±inf, which MLflow would store as ±1.8e308, a finite number.
        The first such value of each metric is spelt out in the tag `non_finite.<name>`. Raises
        LatentlabError for a name that MLflow does not allow or a value that is not a number.
        """
        now = time.time_ns() // 1_000_000
        for key, number in metrics.items():
            value = _number(key, number)
            if not math.isfinite(value):
                if key not in self._non_finite:
                    self._non_finite.add(key)
                    self._tags[f"non_finite.{key}"[:250]] = f"{value} at step {step}"
                value = math.nan
            self._metrics.append((key, value, now, step))

    def log_final(self, metrics: Mapping[str, Any]) -> bool:
        """Log nested results as `test/sse` at step 0, and flush; None is skipped, text is a tag."""
        flat = dict(_flatten(metrics, "/"))
        self._tags |= _tags({k: v for k, v in flat.items() if isinstance(v, str)})
        self.log({k: v for k, v in flat.items() if v is not None and not isinstance(v, str)}, 0)
        return self.flush()

    def set_tags(self, tags: Mapping[str, str]) -> bool:
        """Set tags, or keep them for the next flush."""
        self._tags |= _tags(tags)
        return self.flush()

    def flush(self) -> bool:
        """Deliver what waits. False: the store did not take all of it, the rest goes on waiting."""
        from mlflow.entities import Metric, RunTag

        while self._metrics or self._tags:
            points, marks = self._metrics[:_BATCH], list(self._tags.items())[:100]
            metrics, tags = [Metric(*p) for p in points], [RunTag(*m) for m in marks]
            deliver = partial(self._client.log_batch, self.id, metrics=metrics, tags=tags)
            if not self._attempt("metrics", deliver, "they are kept and offered again"):
                return False
            del self._metrics[: len(points)]
            for key, _ in marks:
                del self._tags[key]
        return True

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        """Copy a file, or a folder's content, into `folder` among the run's artifacts.

        False, with a warning, if the store does not take it. Raises LatentlabError if `path` does
        not exist.
        """
        _must_exist(path)
        upload = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        return self._give(path.name, lambda: upload(self.id, str(path), folder))

    def log_model(self, run_folder: Path, *, image_shape: Sequence[int]) -> bool:
        """Log the folder that train wrote as an MLflow model, served by the code in serving.py.

        Images (N, C, H, W) float32 in, with the param `task`: see serving.py. Nothing is pickled,
        run or inferred, no example is stored: it costs 0.3 to 0.5 s, nearly all of it MLflow's
        imports, plus the copy. The package itself is not among the model's requirements (no index
        has it): install it where the model is loaded. False and LatentlabError as in
        `log_artifact`.
        """
        _must_exist(run_folder)
        upload = partial(_upload_model, self._client, self.id, run_folder, image_shape)
        return self._give(f"model {run_folder.name}", upload)

    def finish(self, status: Status = "FINISHED") -> bool:
        """Close the run. False if something stays undelivered: printed, the numbers kept in a file.

        A run that is continued delivers that file.
        """
        self._patience = -math.inf
        missing = [f"artifacts ({', '.join(self._lost)})"] if self._lost else []
        if self.flush():
            self.undelivered.unlink(missing_ok=True)
        else:
            self._keep_undelivered()
            missing.append(f"numbers (kept in {self.undelivered})")
        close = partial(self._client.set_terminated, self.id, status)
        if not self._attempt(f"status {status}", close, "it is left out"):
            missing.append(f"status {status}")
        if missing:
            print(f"warning: run {self.id} lacks in MLflow: {', '.join(missing)}", file=sys.stderr)
        return not missing

    def _give(self, what: str, action: Callable[[], Any]) -> bool:
        """Attempt what is not offered again: its loss is told now and at the end."""
        if self._attempt(what, action, "it is left out"):
            return True
        self._lost.append(what)
        return False

    def _attempt(self, what: str, action: Callable[[], Any], otherwise: str) -> bool:
        """Run `action`; True if the store took it, else one warning a loss of contact."""
        start = time.monotonic()
        if start < self._patience:
            return False
        try:
            action()
        except _failures() as error:
            now = time.monotonic()
            self._patience = now + 10 * (now - start)
            if not self._failing:
                print(
                    f"warning: MLflow did not take {what}: {otherwise} ({_short(error)})",
                    file=sys.stderr,
                )
            self._failing = True
            return False
        self._failing = False
        return True

    def _keep_undelivered(self) -> None:
        """One JSON object a line: {key, value (null: NaN), timestamp, step} or {tag, value}."""
        rows: list[dict[str, Any]] = [
            {"key": k, "value": None if math.isnan(v) else v, "timestamp": t, "step": s}
            for k, v, t, s in self._metrics
        ]
        rows += [{"tag": key, "value": value} for key, value in self._tags.items()]
        self.undelivered.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.undelivered.with_suffix(".tmp")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.undelivered)

    def _take_undelivered(self) -> None:
        if not self.undelivered.exists():
            return
        for line in self.undelivered.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if "tag" in row:
                self._tags[row["tag"]] = row["value"]
            else:
                value = math.nan if row["value"] is None else row["value"]
                self._metrics.append((row["key"], value, row["timestamp"], row["step"]))
        if self.flush():
            self.undelivered.unlink()


def run_tags(root: Path) -> dict[str, str]:
    """`git.commit` ("none" where `root` is not under git) and `git.dirty` ("true", "false").

    dvc.lock and results do not count as changes: the pipeline itself writes them.
    """

    def git(*command: str) -> str:
        call = ["git", "-C", str(root), *command]
        ran = subprocess.run(call, capture_output=True, text=True, timeout=30)
        return ran.stdout.strip() if ran.returncode == 0 else ""

    try:
        # an outer repository that tracks nothing here (an unpacked archive) says nothing of us
        commit = git("rev-parse", "HEAD") if git("ls-files", "--", ".") else ""
        ours = (":(exclude)dvc.lock", ":(exclude)results", ":(exclude)reports")
        changed = git("status", "--porcelain", "--", ".", *ours) if commit else ""
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    if not commit:
        return {"git.commit": "none"}
    return {"git.commit": commit, "git.dirty": "true" if changed else "false"}


def ui_command(root: Path, port: int = 5000) -> list[str]:
    """The command that shows the store's runs on http://127.0.0.1:port, to this machine only."""
    uri = tracking_uri(root)
    return [
        *(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri),
        *("--default-artifact-root", _artifacts(root)),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def main(argv: list[str] | None = None) -> None:
    """`python -m latentlab.tracking ui`: create or repair the store, print the address, serve."""
    parser = argparse.ArgumentParser("python -m latentlab.tracking", description=main.__doc__)
    parser.add_argument("command", choices=["ui"])
    parser.parse_args(argv)
    here = Path.cwd()
    root = next((p for p in (here, *here.parents) if (p / "params.yaml").is_file()), None)
    if root is None:
        raise LatentlabError(f"no params.yaml in {here} or above it: call this inside a project")
    uri = tracking_uri(root)
    if _is_server(uri):
        print(f"the runs are on the server of MLFLOW_TRACKING_URI: {_shown(uri)}")
        return
    with _store(root):  # made under the lock, before `mlflow ui` makes it without one
        pass
    port = _free_port(5000)
    print(f"MLflow: http://127.0.0.1:{port} (Ctrl-C stops it)", flush=True)
    os.execv(sys.executable, ui_command(root, port))


def _home(root: Path) -> Path:
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def _embedded_uri(root: Path) -> str:
    database = _home(root) / "mlruns" / "mlflow.db"
    if bad := set("?%") & set(str(database)):
        raise LatentlabError(
            f"the project's folder {_home(root)} holds {min(bad)!r}, which no sqlite address can"
            " carry: rename the folder, or name a store in MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{database}"


def _artifacts(root: Path) -> str:
    return (_home(root) / "mlruns" / "artifacts").as_uri()


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _shown(uri: str) -> str:
    """The address without the user and password it may hold."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _probe(uri: str) -> Iterator[str]:
    """Yield the reason why the server does not answer, if it does not."""
    try:
        urllib.request.urlopen(_shown(uri).rstrip("/") + "/health", timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= 500:
                yield f"HTTP status {error.code}"
    except (OSError, ValueError) as error:  # ValueError: not an address
        yield str(getattr(error, "reason", error))


def _free_port(first: int) -> int:
    """The first port from `first` that nothing listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise LatentlabError(
        f"the ports {first} to {first + 99} are all in use: stop one of the servers"
    )


def _mlflow() -> Any:
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import mlflow

    # MLflow 3.17 on SQLAlchemy 2.1, its own affair: nothing a caller could do
    noload = "The ``noload`` loader strategy is deprecated"
    warnings.filterwarnings("ignore", noload, DeprecationWarning)
    # its retries would be told line by line, beside our one warning
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return mlflow


def _failures() -> tuple[type[Exception], ...]:
    """How a store fails: MLflow wraps most, but not all, of what its network and database raise."""
    from sqlalchemy.exc import SQLAlchemyError

    return (_mlflow().exceptions.MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextmanager
def _store(root: Path) -> Iterator[Any]:
    """A client; inside the block, a failure of the store is a LatentlabError."""
    _mlflow()
    try:
        yield _connect(root)
    except _failures() as error:
        raise LatentlabError(
            f"the MLflow store {_shown(tracking_uri(root))} does not work: {_short(error)}. Check"
            " its address, permissions and free space (after an update of MLflow: `mlflow db"
            " upgrade`), or name another store in MLFLOW_TRACKING_URI"
        ) from error


def _connect(root: Path) -> Any:
    """A client of the store; a local store is made and mended by one process at a time."""
    uri, client = tracking_uri(root), _mlflow().MlflowClient
    if _is_server(uri):
        return client(uri)
    folder = _home(root) / "mlruns"
    folder.mkdir(parents=True, exist_ok=True)
    # two processes that migrate one fresh database destroy it: MLflow has no lock of its own
    with FileLock(folder / ".lock"):
        if uri == _embedded_uri(root):
            _mend(folder / "mlflow.db", _artifacts(root))
        return client(uri)


def _mend(database: Path, artifacts: str) -> None:
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
            for (old,), (table, column) in product(moved, _LOCATIONS):
                if table in tables:
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                        f" WHERE substr({column} || '/', 1, ?) = ?",
                        (artifacts, len(old) + 1, len(old) + 1, old + "/"),
                    )
        store.execute("COMMIT")


def _experiment(client: Any, root: Path, name: str) -> str:
    """The experiment's id; made or restored if need be."""
    found = client.get_experiment_by_name(name)
    if found is None:
        # a server has its own place for artifacts; MLflow's place for local ones is the cwd
        place = None if _is_server(tracking_uri(root)) else _artifacts(root)
        try:
            return client.create_experiment(name, artifact_location=place)
        except _mlflow().exceptions.MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _find_run(client: Any, run_id: str) -> Any:
    """The run, or None if this store does not have it or has it in its bin."""
    try:
        run = client.get_run(run_id) if run_id else None
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run is not None and run.info.lifecycle_stage == "active" else None


def _describe(client: Any, run: Any, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Write params and tags; a param that has another value already becomes a tag."""
    from mlflow.entities import Param, RunTag

    known = run.data.params
    flat = {
        re.sub(r"[^\w.\- ]", "_", key)[:250]: _cut(str(value), _PARAM_CHARS)
        for key, value in _flatten(params, ".")
    }
    fresh = [Param(key, value) for key, value in flat.items() if key not in known]
    changed = {f"changed.{k}"[:250]: v for k, v in flat.items() if k in known and known[k] != v}
    marks = [RunTag(*tag) for tag in _tags({**tags, **changed}).items()]
    for start in range(0, max(len(fresh), len(marks)), 100):
        part = slice(start, start + 100)
        client.log_batch(run.info.run_id, params=fresh[part], tags=marks[part])


def _upload_model(client: Any, run_id: str, run_folder: Path, image_shape: Sequence[int]) -> None:
    experiment_id = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment_id, run_folder.name, run_id)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _save_model(f"{folder}/model", run_id, logged, run_folder, image_shape)
            client.log_model_artifacts(logged.model_id, f"{folder}/model")
    except BaseException:
        with suppress(*_failures()):  # the first error is the one to tell
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")

    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _save_model(
    path: str, run_id: str, logged: Any, run_folder: Path, image_shape: Sequence[int]
) -> None:
    import numpy as np

    with warnings.catch_warnings():
        # of MLflow's own annotations, and: the example it asks for would be stored and run, for
        # the sake of a signature that we know
        for message in (".*Any type hint is inferred", ".*An input example was not provided"):
            warnings.filterwarnings("ignore", message, UserWarning)

        from mlflow import pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

        images = TensorSpec(np.dtype(np.float32), (-1, *image_shape))
        task = ParamSpec("task", DataType.string, "reconstruct")
        place, model_id = logged.artifact_location, logged.model_id
        pyfunc.save_model(
            path,
            python_model=Path(__file__).with_name("serving.py"),
            artifacts={"run": str(run_folder.resolve())},
            signature=ModelSignature(inputs=Schema([images]), params=ParamSchema([task])),
            pip_requirements=list(_requirements()),
            mlflow_model=Model(artifact_path=place, run_id=run_id, model_id=model_id),
        )


def _requirements() -> Iterator[str]:
    for name in _SERVED_WITH:
        try:
            yield f"{name}=={version(name).partition('+')[0]}"  # no index has 2.11.0+cpu
        except PackageNotFoundError:
            yield name


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise LatentlabError(f"nothing to track at {path}: write it before it is logged")


def _number(key: str, value: Any) -> float:
    _check_name(key)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise LatentlabError(
            f"metric {key!r} is {_cut(repr(value), 100)}, not a number: log one number a name"
        ) from None


def _check_name(key: str) -> None:
    if not _NAME.fullmatch(key):
        raise LatentlabError(
            f"{key!r} cannot name a metric or tag: use letters, digits, '_', '-', '.', ':', spaces,"
            " single slashes between parts, at most 250 characters"
        )


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    for key in tags:
        _check_name(key)
    return {key: _cut(str(value), _TAG_CHARS) for key, value in tags.items()}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _flatten(
    tree: Mapping[str, Any], separator: str, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield (joined key, leaf) of nested mappings; an empty mapping below the top is a leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    try:
        main()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
