"""DVC commands in forked children of a process that has imported DVC, which takes a second."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

PRELOADED = (
    *("dvc.cli.parser", "dvc.repo.reproduce", "dvc.cachemgr", "dvc.data_cloud", "dvc.lock"),
    *("dvc.rwlock", "dvc.scm", "dvc_render", "networkx.algorithms"),
)
LIMIT_S = 300


def run_dvc(argv: tuple[str, ...], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run `dvc` with these arguments. Return its exit code, and what it printed."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.NamedTemporaryFile() as output:
        request = [*map(str, (output.name, folder))], argv, environment
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return code, Path(output.name).read_text(encoding="utf-8")


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks. It ends with this one, because its stdin is closed then."""
    command = [sys.executable, __file__]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    return server


def main() -> None:
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # only to save time
            importlib.import_module(name)
    for line in sys.stdin:
        (output, folder), argv, environment = json.loads(line)
        pid = os.fork()
        if not pid:
            _run(output, folder, argv, environment)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(output: str, folder: str, argv: list[str], environment: dict[str, str]) -> None:
    """In a child: become the command."""
    code = 1
    try:
        signal.alarm(LIMIT_S)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        descriptor, nothing = os.open(output, os.O_WRONLY), os.open(os.devnull, os.O_RDONLY)
        for stream, number in ((nothing, 0), (descriptor, 1), (descriptor, 2)):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = ["dvc", *argv]
        code = importlib.import_module("dvc.cli").main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        for file in (sys.stdout, sys.stderr):
            file.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
