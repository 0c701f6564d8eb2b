"""A process that has imported what DVC and the stages need, and forks a child for each of them.

The server imports DVC, torch, Lightning, MLflow and other packages once, but nothing that DVC
watches. It starts no thread and does not touch a GPU, so a forked child is in the state of a
process that has imported the same modules. A child gets the arguments, the working directory, the
environment and the standard streams of the process that asked for it (utils.fork_client), and a
session of its own.

If the client of a stage is killed, the server kills its child. A DVC command ends as if its client
lived: the stage that it runs is not lost. A tracking worker ends after its stage. If the server is
killed, the clients of stages kill their children. After SIGTERM, or when the process that started
it exits, the server forks no more, and exits when all children have exited.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import FrameType

from latentlab.utils.fork_client import PACKAGE, SIGNALS, THREADS
from latentlab.utils.imports import import_lightning_lean

COMMANDS = {
    "dvc": "dvc.cli",
    "stages": "latentlab.stages.__main__",
    "tracking": "latentlab.tracking.__main__",
}
DVC_MODULES = (
    *("dvc.cli.parser", "dvc.analytics", "dvc.repo.open_repo", "dvc.repo.reproduce", "dvc.scm"),
    *("dvc.cachemgr", "dvc.data_cloud", "dvc.lock", "dvc.rwlock", "dvc.utils.strictyaml"),
    *("dvc_render", "networkx.algorithms"),
)
PRELOADED = (  # not latentlab's own files: each stage has to read them anew
    *("PIL.Image", "PIL.PngImagePlugin", "jsonargparse", "omegaconf", "attrs", "ruamel.yaml"),
    *("torch.nested._internal.nested_tensor", "torch.utils.serialization", "email.policy"),
    *("mlflow", "mlflow.pyfunc", "mlflow.models", "mlflow.types", "mlflow.tracking.client"),
    *("mlflow.store.tracking.sqlalchemy_store", "sqlalchemy.dialects.sqlite", "alembic.command"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),
)
MAX_REQUEST = 2**20
WAKE, PARENT = -1, -2  # marks of the pipe into which signals write, and of stdin


@dataclass(frozen=True)
class Request:
    """The command of a client. `path`: its sys.path. `package`: the folder of its latentlab.

    `streams`: its standard streams, as open files of this process.
    """

    command: str
    argv: list[str]
    folder: str
    path: list[str]
    package: str
    environment: dict[str, str]
    streams: list[int]

    def fits(self) -> bool:
        """True if a child of this process can run the command as the client would."""
        same_threads = self.environment.get(THREADS) == os.environ.get(THREADS)
        return same_threads and self.package == PACKAGE and self.command in COMMANDS


def main() -> None:
    """Serve on the socket whose number is the only argument."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    for name in DVC_MODULES:  # the first client is DVC
        with contextlib.suppress(ImportError):  # only to save time: the command reports it
            import_module(name)
    to_do: list[Callable[[], object]] = [
        import_lightning_lean,
        *(partial(import_module, name) for name in PRELOADED),
        _configure_store,
    ]
    request = Server(listener, to_do).serve()
    if request is not None:  # this is a forked child
        _run(request)
    os._exit(0)


class Server:
    """`to_do`: imports and other preparations, for the time when no client waits.

    `children`: pid → the connection to its client.
    """

    def __init__(self, listener: socket.socket, to_do: list[Callable[[], object]]) -> None:
        self.listener, self.to_do = listener, to_do
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        self.children: dict[int, socket.socket] = {}
        self.stopping = False

    def serve(self) -> Request | None:
        """Return None when the server has to stop and all children have exited.

        In a forked child, return its request at once.
        """
        self._handle_signals()
        while self.children or not self.stopping:
            if self.stopping:
                self._close_listener()
            events = self.selector.select(0 if self.to_do and not self.stopping else None)
            if not events and self.to_do:
                with contextlib.suppress(Exception):  # only to save time: a stage reports it
                    self.to_do.pop(0)()
            for key, _ in events:
                if key.data is None:
                    if not self.stopping and (request := self._accept()):
                        return request
                elif key.data == WAKE:
                    os.read(key.fd, 1000)
                elif key.data == PARENT:
                    self.stopping = True
                    self.selector.unregister(key.fd)
                else:
                    self._client_exited(key.data)
            self._collect()
        return None

    def _handle_signals(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        wake_read, wake_write = os.pipe()  # a signal writes a byte into it and ends select()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.selector.register(wake_read, selectors.EVENT_READ, data=WAKE)
        self.selector.register(0, selectors.EVENT_READ, data=PARENT)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _close_listener(self) -> None:
        """Turn clients away, also those that wait: they run their commands themselves."""
        with contextlib.suppress(KeyError, ValueError):  # it is closed already
            self.selector.unregister(self.listener)
            self.listener.close()

    def _accept(self) -> Request | None:
        """Fork a child for a request. Return the request in the child, None in the server."""
        connection, _ = self.listener.accept()
        request = _receive(connection)
        if request is None:
            connection.close()
            return None
        pid = None
        if request.fits():
            if request.command == "stages":
                with contextlib.suppress(Exception):  # the stage reports it
                    import_lightning_lean()
            gc.collect()
            gc.freeze()  # the garbage collection of a child does not copy the server's memory
            with contextlib.suppress(OSError):  # too many processes, or too little memory
                pid = os.fork()
            if pid == 0:
                _start_session()  # before the client knows the number: a signal to it is not lost
                _message(connection, {"pid": os.getpid()})
                for other in [self.listener, connection, *self.children.values()]:
                    other.close()
                return request
        if pid is None:
            _message(connection, {"pid": 0})  # the client runs the command itself
            connection.close()
        else:
            self.children[pid] = connection
            if request.command == "stages":
                self.selector.register(connection, selectors.EVENT_READ, data=pid)
        for stream in request.streams:
            os.close(stream)
        return None

    def _client_exited(self, pid: int) -> None:
        """Kill a child whose client was killed."""
        if pid in self.children:
            self.selector.unregister(self.children[pid])
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _collect(self) -> None:
        """Send the exit codes of the children that have exited."""
        for pid, connection in list(self.children.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self.children[pid]
                with contextlib.suppress(KeyError, ValueError):
                    self.selector.unregister(connection)
                _message(connection, {"status": os.waitstatus_to_exitcode(status)})
                connection.close()


def _configure_store() -> None:
    """Let SQLAlchemy connect the tables of MLflow's store now. The first query would do it."""
    from sqlalchemy.orm import configure_mappers

    configure_mappers()


def _receive(connection: socket.socket) -> Request | None:
    """Read a request: one line of JSON, and three open files. None if it is incomplete."""
    content, streams, _, _ = socket.recv_fds(connection, MAX_REQUEST, 3)
    while content and not content.endswith(b"\n"):
        more = connection.recv(MAX_REQUEST)
        content = content + more if more else b""
    if len(streams) != 3 or not content:
        for stream in streams:
            os.close(stream)
        return None
    return Request(**json.loads(content), streams=list(streams))


def _message(connection: socket.socket, message: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # the client has exited
        connection.sendall(json.dumps(message).encode() + b"\n")


def _run(request: Request) -> None:
    """In a forked child: run the command of a request, and exit as a process of its own does."""
    code = 1
    try:
        _become_client(request)
        code = _exit_code(import_module(COMMANDS[request.command]).main)
        threading._shutdown()  # type: ignore[attr-defined]  # waits for the command's threads
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)  # unloading torch would take a tenth of a second


def _start_session() -> None:
    """In a forked child: a session of its own, and the signals of a process that starts."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for name in (*SIGNALS, "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _become_client(request: Request) -> None:
    """Take over the streams, the environment, the folder and the arguments of the client."""
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    sys.argv, sys.path = request.argv, request.path


def _exit_code(command: Callable[[], int | None]) -> int:
    """`command` returns its exit code, as DVC does, or raises SystemExit as the stages do."""
    try:
        return command() or 0
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
            return 1
        return int(exit_.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    main()
