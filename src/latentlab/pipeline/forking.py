"""Start the process that forks the stages (fork_server.py) for the jobs of a pipeline."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from latentlab.pipeline.job import environment
from latentlab.pipeline.scheduler import threads
from latentlab.tracking.store import ENVIRONMENT
from latentlab.utils.fork_client import ADDRESS

NO_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # pyarrow would start one


@contextlib.contextmanager
def job_variables(*, gpus: bool) -> Iterator[dict[str, str]]:
    """Start a fork server; return the environment variables of the jobs that may use it.

    Without fork (Windows), where fork is not safe (macOS), and with GPUs there is no server: each
    stage is then a process of its own.
    """
    variables = threads()
    if gpus or sys.platform != "linux":
        yield variables
        return
    with TemporaryDirectory(prefix="latentlab-") as folder:  # only this user may enter it
        address = str(Path(folder) / "socket")
        with _start(address, variables) as server:  # the block ends with server.wait()
            try:
                yield {**variables, ADDRESS: address}
            finally:
                server.terminate()


def _start(address: str, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)  # clients wait here while the server imports
        number = listener.fileno()
        return subprocess.Popen(
            [sys.executable, "-m", "latentlab.pipeline.fork_server", str(number)],
            env=environment({**ENVIRONMENT, **NO_THREAD, **variables}),
            stdin=subprocess.PIPE,  # it is closed when this process exits, also if it is killed
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[number],
        )
