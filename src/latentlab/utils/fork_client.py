"""Run a command in a child of the fork server, if there is one.

`import dvc`, `import torch` and `import mlflow` take seconds, and every stage needs them.
`latentlab repro` keeps one process that has imported them (pipeline.fork_server). It forks a child
for each command. A process that was started for a command, such as `python -m latentlab.stages
train vae`, sends its arguments, its environment and its standard streams, passes signals on, and
exits with the child's exit code.

Only the standard library is used, and nothing of latentlab, so that this process starts fast.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

ADDRESS = "LATENTLAB_FORK_SERVER"  # path of the server's socket
THREADS = "OMP_NUM_THREADS"  # OpenMP reads it when torch is loaded
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
STREAMS = (0, 1, 2)
LOST = "error: the fork server has exited: run the command again"


class Child:
    """A command in a forked child. `pid` is also the number of its process group.

    `lost`: the server has exited before the child, which may still run.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.received = connection, b""
        self.code: int | None = None
        self.lost = False
        self.pid = (self._message(wait=True) or {}).get("pid", 0)

    def poll(self) -> int | None:
        """Return the exit code, −n if signal n killed the child; None while it runs."""
        return self._code(wait=False)

    def wait(self) -> int:
        """Wait for the exit code."""
        return self._code(wait=True) or 0

    def _code(self, *, wait: bool) -> int | None:
        if self.code is None and (message := self._message(wait=wait)) is not None:
            self.lost = "status" not in message
            self.code = message.get("status", 1)
            self.connection.close()
        return self.code

    def _message(self, *, wait: bool) -> dict[str, int] | None:
        """Return the server's next message; {} at the end of the stream, None without a message."""
        while b"\n" not in self.received:
            try:
                more = self.connection.recv(4096, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError:
                return {}
            if not more:
                return {}
            self.received += more
        line, _, self.received = self.received.partition(b"\n")
        return dict(json.loads(line))


def start(
    address: str,
    command: str,
    argv: Sequence[str],
    *,
    folder: str,
    environment: dict[str, str],
    streams: Sequence[int] = STREAMS,
) -> Child | None:
    """Run "dvc", "stages" or "tracking" with `argv` in a child of the server at `address`.

    `streams`: the open files that become its standard streams. Return None if no server answers, or
    if it was started for another number of threads or another copy of latentlab.
    """
    request = {
        "command": command,
        "argv": list(argv),
        "folder": folder,
        "path": sys.path,
        "package": PACKAGE,
        "environment": environment,
    }
    content = json.dumps(request).encode() + b"\n"
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        sent = connection.sendmsg([content], rights)
        connection.sendall(content[sent:])
    except OSError:
        connection.close()
        return None
    child = Child(connection)
    if not child.pid:
        connection.close()
        return None
    return child


def run_in_fork(command: str) -> None:
    """Run `command` with sys.argv in a forked child, and exit with its code.

    Return where `start` returns None: the caller then runs the command itself.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return
    child = start(address, command, sys.argv, folder=os.getcwd(), environment=dict(os.environ))
    if child is not None:
        _exit_like(_wait(child))


def _wait(child: Child) -> int:
    """Wait for the child and return its exit code; −n if signal n killed it."""

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)

    for name in SIGNALS:
        if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), forward)
    code = child.wait()
    if child.lost:
        print(LOST, file=sys.stderr)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    return code


def _exit_like(code: int) -> None:
    """Exit with `code`, or by signal −code."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
