"""Run a command of this process in a child of the fork server, if there is one.

`import torch` and `import mlflow` take seconds, and every stage needs them. `latentlab repro` keeps
one process that has imported both (pipeline.fork_server). It forks a child for each command. The
process that was started, such as `python -m latentlab.stages train vae`, sends its arguments, its
environment and its standard streams, passes signals on, and exits with the child's exit code.

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
from types import FrameType
from typing import Any

ADDRESS = "LATENTLAB_FORK_SERVER"  # path of the server's socket
THREADS = "OMP_NUM_THREADS"  # OpenMP reads it when torch is loaded
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
STREAMS = (0, 1, 2)


def run_in_fork(command: str) -> None:
    """Run `command` ("stages", "tracking") with sys.argv in a forked child, and exit with its code.

    Return if there is no server, if it does not answer, or if it was started for another number
    of threads or another copy of latentlab: the caller then runs the command itself.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        _send(connection, command)
        lines = connection.makefile("r", encoding="utf-8")
        child = _read(lines)
    except OSError:
        return
    if not child.get("pid"):
        return
    _exit_like(_wait(lines, child["pid"]))


def _send(connection: socket.socket, command: str) -> None:
    """Send the request: one line of JSON, and the standard streams."""
    request = {
        "command": command,
        "argv": sys.argv,
        "folder": os.getcwd(),
        "path": sys.path,
        "package": PACKAGE,
        "environment": dict(os.environ),
    }
    content = json.dumps(request).encode() + b"\n"
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", STREAMS))]
    sent = connection.sendmsg([content], streams)
    connection.sendall(content[sent:])


def _read(lines: Any) -> dict[str, int]:
    """Return the next message of the server; {} at the end of the stream."""
    try:
        line = lines.readline()
        return json.loads(line) if line else {}
    except (OSError, ValueError):
        return {}


def _wait(lines: Any, pid: int) -> int:
    """Wait for the child and return its exit code; −n if signal n killed it."""

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for name in SIGNALS:
        if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), forward)
    status = _read(lines)
    if "status" in status:
        return status["status"]
    print("error: the fork server has exited: run the command again", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return 1


def _exit_like(code: int) -> None:
    """Exit with `code`, or by signal −code."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
