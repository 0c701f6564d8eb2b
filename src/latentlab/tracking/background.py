"""Keep an MLflow run in a background process, so that a training never waits for MLflow.

A stage calls `start_worker` first. While the stage imports torch, the worker process imports
MLflow on another core. The two exchange lines of JSON through pipes. Logged metrics get no reply;
every other request gets one, in order.

The worker ignores SIGINT and SIGTERM. It exits when the pipe from the stage closes, also if the
stage was killed: then it sends all metrics and marks the run KILLED.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from latentlab.tracking import run as in_process
from latentlab.tracking.metadata import check_name
from latentlab.tracking.run import Run, Status
from latentlab.tracking.store import store_errors
from latentlab.utils.errors import LatentlabError
from latentlab.utils.fork_client import ADDRESS, Child, start

PATH_ARGUMENTS = ("root", "path", "run_folder", "image_folder")
NO_REPLY = ("log", "flush", "log_missing", "log_images")

_worker: WorkerProcess | None = None


def start_worker() -> None:
    """Start the worker process for the next `open_run` or `continue_run` of this process."""
    global _worker
    _worker = WorkerProcess()


def open_run(root: Path, **arguments: Any) -> AnyRun:
    """Call `run.open_run`, in the worker process if one was started."""
    if _worker is None:
        return in_process.open_run(root, **arguments)
    _worker.send("open_run", root=str(root), **arguments)
    return BackgroundRun(_worker)


def continue_run(root: Path, run_id: str, **arguments: Any) -> AnyRun:
    """Call `run.continue_run`, in the worker process if one was started."""
    if _worker is None:
        return in_process.continue_run(root, run_id, **arguments)
    _worker.send("continue_run", root=str(root), run_id=run_id, **arguments)
    return BackgroundRun(_worker)


class WorkerDiedError(Exception):
    """The worker process exited before the stage closed it."""


class WorkerProcess:
    """The stage's side: start the worker process, and write to and read from its pipes."""

    def __init__(self) -> None:
        requests, self._requests = _pipe()
        self._replies, replies = _pipe()
        with requests, replies:  # the ends of the worker
            self._process = _start(requests.fileno(), replies.fileno())
        atexit.register(self.close)

    def send(self, request: str, **arguments: Any) -> None:
        """Send a request. If the worker has died, the next `receive` raises."""
        with suppress(BrokenPipeError, ValueError):  # ValueError: the pipe was closed
            self._requests.write(json.dumps([request, arguments]) + "\n")
            self._requests.flush()

    def receive(self) -> Any:
        """Wait for the next reply. Raises WorkerDiedError, or the worker's LatentlabError."""
        line = self._replies.readline()
        if not line:
            raise WorkerDiedError
        reply, value = json.loads(line)
        if reply == "error":
            raise LatentlabError(value)
        return value

    def has_reply(self) -> bool:
        """Return True if `receive` would not wait. On Windows this is not known: False."""
        if sys.platform == "win32":  # select takes sockets only
            return False
        return bool(select.select([self._replies], [], [], 0)[0])

    def close(self) -> None:
        """Close the pipe and wait until the worker has sent everything and exited."""
        global _worker
        _worker = None
        with suppress(BrokenPipeError):
            self._requests.close()
        self._process.wait()
        self._replies.close()


def _pipe() -> tuple[TextIO, TextIO]:
    """The end to read from and the end to write to."""
    read, write = os.pipe()
    return os.fdopen(read, encoding="utf-8"), os.fdopen(write, "w", encoding="utf-8")


def _start(requests: int, replies: int) -> Child | subprocess.Popen[bytes]:
    """Start the worker with two open files: a child of the fork server, or a process of its own.

    Ctrl-C in the terminal reaches the stage only: the worker has a session of its own.
    """
    address = os.environ.get(ADDRESS)
    if address:
        child = start(
            address,
            "tracking",
            ["tracking", "worker"],
            folder=os.getcwd(),
            environment=dict(os.environ),
            streams=(requests, replies, 2),
        )
        if child is not None:
            return child
    command = [sys.executable, "-m", "latentlab.tracking", "worker"]
    return subprocess.Popen(command, stdin=requests, stdout=replies, start_new_session=True)


class BackgroundRun:
    """The interface of `run.Run`, executed in the worker process. See `Run` for the methods."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._id: str | None = None
        self._broken = False

    @property
    def id(self) -> str:
        """The run's id. Waits until the run is open. Raises LatentlabError if that failed."""
        if self._id is None:
            self._id = self._receive_id()
        return self._id

    def _receive_id(self) -> str:
        try:
            return self._worker.receive()
        except WorkerDiedError:
            self._broken = True
            raise LatentlabError(
                "the tracking process died before it opened a run: run the command again"
            ) from None
        except Exception:
            self._broken = True
            raise

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Like `Run.log`. Also raises LatentlabError if the run could not be opened."""
        for key in metrics:
            check_name(key)  # here, because the worker does not reply to `log`
        if self._id is None and self._worker.has_reply():
            self._id = self._receive_id()
        self._worker.send("log", metrics=dict(metrics), step=step)

    def flush(self) -> bool:
        self._worker.send("flush")
        return True

    def log_missing(self, rows: Iterable[tuple[str, str, int, float]], batch_size: int) -> None:
        self._worker.send("log_missing", rows=list(rows), batch_size=batch_size)

    def log_images(self, image_folder: Path, key: str) -> bool:
        self._worker.send("log_images", image_folder=str(image_folder), key=key)
        return True

    def log_final(self, metrics: Mapping[str, Any]) -> bool:
        return self._call("log_final", metrics=metrics)

    def set_tags(self, tags: Mapping[str, str]) -> bool:
        return self._call("set_tags", tags=dict(tags))

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        return self._call("log_artifact", path=str(path), folder=folder)

    def log_model(self, run_folder: Path, *, image_shape: Sequence[int]) -> bool:
        return self._call("log_model", run_folder=str(run_folder), image_shape=list(image_shape))

    def finish(self, status: Status = "FINISHED", *, seconds: float | None = None) -> bool:
        done = self._call("finish", status=status, seconds=seconds)
        self._worker.close()
        return done

    def _call(self, method: str, **arguments: Any) -> bool:
        """Call a method of the run and return its result. False if the worker has died."""
        if self._broken:
            return False
        run_id = self.id
        try:
            self._worker.send("call", method=method, arguments=arguments)
            return bool(self._worker.receive())
        except WorkerDiedError:
            self._broken = True
            print(
                f"warning: the tracking process died, so run {run_id} is incomplete in MLflow."
                " Run the same command again",
                file=sys.stderr,
            )
            return False


AnyRun = Run | BackgroundRun


class Worker:
    """The worker's side: holds the run and executes the requests. Replies are (type, value)."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.finished = False

    def open_run(self, **arguments: Any) -> tuple[str, Any]:
        self.run = in_process.open_run(**arguments)
        return "value", self.run.id

    def continue_run(self, **arguments: Any) -> tuple[str, Any]:
        self.run = in_process.continue_run(**arguments)
        return "value", self.run.id

    def call(self, method: str, arguments: dict[str, Any]) -> tuple[str, Any]:
        self.finished |= method == "finish"
        return "value", getattr(self.run, method)(**_with_paths(arguments))

    def execute(self, request: str, arguments: dict[str, Any]) -> tuple[str, Any] | None:
        """Execute one request. Return its reply; None for a request without reply.

        Requests without reply do nothing if the run could not be opened.
        """
        try:
            if request not in NO_REPLY:
                return getattr(self, request)(**_with_paths(arguments))
            if self.run is not None:
                getattr(self.run, request)(**_with_paths(arguments))
        except LatentlabError as error:
            return "error", str(error)
        return None


def main() -> None:
    """Execute requests from stdin until the stage closes the pipe or ends."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # so that MLflow's output does not mix with the replies
    store_errors()  # imports MLflow
    worker, delayed_error = Worker(), None
    for line in sys.stdin:
        request, arguments = json.loads(line)
        reply = worker.execute(request, arguments)
        if request in NO_REPLY:  # the next reply reports its error
            delayed_error = delayed_error or reply
            continue
        replies.write(json.dumps(delayed_error or reply) + "\n")
        replies.flush()
        delayed_error = None
    if worker.run is not None and not worker.finished:
        worker.run.finish("KILLED")
    sys.stderr.flush()
    os._exit(0)  # everything is sent; unloading MLflow would take a second


def _with_paths(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: Path(v) if key in PATH_ARGUMENTS else v for key, v in arguments.items()}
