"""A run kept by a process of its own: nobody waits for MLflow's start or a slow store.

A stage `hire`s a clerk first of all: while the stage imports torch, the clerk imports MLflow on
another core. They speak lines of JSON: what is only logged gets no reply; the rest is answered, in
order. The clerk ignores signals and ends with its employer, however that ends: a run whose process
was killed is marked KILLED, with all its numbers delivered.
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
from typing import Any

from latentlab.tracking import run as in_process
from latentlab.tracking.describe import check_name
from latentlab.tracking.errors import is_mistake, mistake
from latentlab.tracking.run import Run, Status
from latentlab.tracking.store import failures

_hired: Clerk | None = None


def hire() -> None:
    """Start the clerk that the next `open_run` or `continue_run` of this process will employ."""
    global _hired
    _hired = Clerk()


def open_run(root: Path, **described: Any) -> Run | RunByClerk:
    """`run.open_run`, in the clerk's process if one was hired."""
    if _hired is None:
        return in_process.open_run(root, **described)
    return _hired.employ("open_run", root=str(root), **described)


def continue_run(root: Path, run_id: str, **described: Any) -> Run | RunByClerk:
    """`run.continue_run`, in the clerk's process if one was hired."""
    if _hired is None:
        return in_process.continue_run(root, run_id, **described)
    return _hired.employ("continue_run", root=str(root), run_id=run_id, **described)


class Clerk:
    """The employer's end of the two pipes."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "latentlab.tracking", "clerk"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # a Ctrl-C is meant for the stage
        )
        atexit.register(self.dismiss)

    def employ(self, opening: str, **described: Any) -> RunByClerk:
        self.tell(opening, **described)
        return RunByClerk(self)

    def tell(self, request: str, **arguments: Any) -> None:
        """Say something that the clerk does not answer, or whose answer is asked for later."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # gone or dismissed: told by the next answer
            self._process.stdin.write(json.dumps([request, arguments]) + "\n")
            self._process.stdin.flush()

    def answer(self) -> Any:
        """The next answer. Raises ClerkGoneError if none will come, LatentlabError if it is one."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ClerkGoneError
        kind, value = json.loads(line)
        if kind == "error":
            raise mistake(value)
        return value

    def has_answered(self) -> bool:
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def dismiss(self) -> None:
        """Let the clerk deliver what it holds, and go."""
        global _hired
        _hired = None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


class ClerkGoneError(Exception):
    """The tracking process has ended unasked."""


class RunByClerk:
    """What `run.Run` does, done elsewhere. See there."""

    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk
        self._id: str | None = None
        self._broken = False

    @property
    def id(self) -> str:
        """The run's id. Waits until the clerk has opened it; LatentlabError if it cannot."""
        if self._id is None:
            try:
                self._id = self._clerk.answer()
            except ClerkGoneError:
                self._broken = True
                raise mistake("the tracking process died before it had opened a run") from None
            except Exception:
                self._broken = True
                raise
        return self._id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """LatentlabError for a name MLflow refuses; also the moment to learn that no run opened."""
        for key in metrics:
            check_name(key)  # the clerk does not answer what is only logged
        if self._id is None and self._clerk.has_answered():
            assert self.id
        self._clerk.tell("log", metrics=dict(metrics), step=step)

    def flush(self) -> bool:
        self._clerk.tell("flush")
        return True

    def catch_up(self, rows: Iterable[tuple[str, str, int, float]], batch_size: int) -> None:
        self._clerk.tell("catch_up", rows=list(rows), batch_size=batch_size)

    def log_final(self, metrics: Mapping[str, Any]) -> bool:
        return self._ask("log_final", metrics=metrics)

    def set_tags(self, tags: Mapping[str, str]) -> bool:
        return self._ask("set_tags", tags=dict(tags))

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        return self._ask("log_artifact", path=str(path), folder=folder)

    def log_model(self, run_folder: Path, *, image_shape: Sequence[int]) -> bool:
        return self._ask("log_model", run_folder=str(run_folder), image_shape=list(image_shape))

    def finish(self, status: Status = "FINISHED") -> bool:
        done = self._ask("finish", status=status)
        self._clerk.dismiss()
        return done

    def _ask(self, what: str, **arguments: Any) -> bool:
        """False if the clerk has gone: a failure of tracking stops nobody."""
        if self._broken:
            return False
        try:
            assert self.id
            self._clerk.tell("ask", what=what, arguments=arguments)
            return bool(self._clerk.answer())
        except ClerkGoneError:
            self._broken = True
            print(
                f"warning: the tracking process died: run {self._id} is incomplete in MLflow;"
                " run the same command again",
                file=sys.stderr,
            )
            return False


PATHS = ("root", "path", "run_folder")
UNANSWERED = ("log", "flush", "catch_up")


class Desk:
    """The clerk's end: one run, and what is asked of it."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.finished = False

    def open_run(self, **described: Any) -> tuple[str, Any]:
        return self._open(in_process.open_run, described)

    def continue_run(self, **described: Any) -> tuple[str, Any]:
        return self._open(in_process.continue_run, described)

    def _open(self, opening: Any, described: dict[str, Any]) -> tuple[str, Any]:
        self.run = opening(**described)
        assert self.run is not None
        return "value", self.run.id

    def ask(self, what: str, arguments: dict[str, Any]) -> tuple[str, Any]:
        self.finished |= what == "finish"
        return "value", getattr(self.run, what)(**_with_paths(arguments))

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self.run is not None:
            self.run.log(metrics, step)

    def flush(self) -> None:
        if self.run is not None:
            self.run.flush()

    def catch_up(self, rows: list[Any], batch_size: int) -> None:
        if self.run is not None:
            self.run.catch_up(rows, batch_size)


def main() -> None:
    """Serve until the employer's end of the pipe closes."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what MLflow prints is no reply
    failures()  # imports MLflow
    desk, owed = Desk(), None
    for line in sys.stdin:
        what, arguments = json.loads(line)
        try:
            reply = getattr(desk, what)(**_with_paths(arguments))
        except Exception as error:
            if not is_mistake(error):
                raise
            reply = "error", str(error)
        if what in UNANSWERED:  # its mistake is told with the next answer
            reply, owed = None, owed or reply
        elif owed is not None:
            reply, owed = owed, None
        if reply is not None:
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
    if desk.run is not None and not desk.finished:
        desk.run.finish("KILLED")
    sys.stderr.flush()
    os._exit(0)  # all is delivered; taking MLflow apart would last a second


def _with_paths(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: Path(v) if key in PATHS else v for key, v in arguments.items()}
