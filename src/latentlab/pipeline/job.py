"""One running stage: a process `dvc repro --single-item STAGE` in a process group of its own.

It is a child of the fork server, if there is one, which has imported DVC already.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from latentlab.utils.fork_client import ADDRESS, LOST, Child, start
from latentlab.utils.user import user_name

PERCENT = re.compile(rb"(\d+)%\|")
STARTED = "Running stage"  # DVC prints it when it starts the command of a stage
LOCKED = "Unable to acquire lock"  # another DVC command held the lock for some seconds
LOCK_TRIES = 10
STOP_SECONDS = 30.0  # a stage may use this time to write its checkpoint
LOST_SECONDS = 10.0  # DVC may use this time to end by itself
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no SIGKILL
KILL_SECONDS = 5.0  # killed processes may stay in the table of processes for ever, as zombies
TAIL_BYTES = 4000


def dvc_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def environment(variables: dict[str, str] | None = None) -> dict[str, str]:
    """This environment, in which `python` is the running Python, and `variables`.

    LOGNAME is set: DVC does not run for a user without a name, as in some containers.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "LOGNAME": user_name(), **(variables or {})}


class Job:
    """A stage that runs. Its output goes into the file `log`.

    `variables`: of the environment, in addition to those of this process. `is_waiting`: it is in
    the queue of a cluster.
    """

    is_waiting = False

    def __init__(self, stage: str, root: Path, log: Path, variables: dict[str, str]) -> None:
        self.stage, self.root, self.log, self.variables = stage, root, log, variables
        self.began, self.tries = time.monotonic(), 0
        self.lost_at: float | None = None
        self.process: Child | subprocess.Popen[bytes]
        self.kill_at: float | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        self._start(["repro", "--single-item", stage])

    def try_again(self) -> bool:
        """After a failure: if only the lock of DVC was missing, start again and return True.

        When the command of the stage has run already, only its outputs are recorded.
        """
        if LOCKED not in self.tail() or self.tries >= LOCK_TRIES:
            return False
        repro = ["repro", "--single-item", self.stage]
        self._start(["commit", "--force", self.stage] if self.has_run() else repro)
        return True

    def _start(self, arguments: list[str]) -> None:
        self.tries += 1
        with self.log.open("ab") as file, open(os.devnull) as nothing:
            self.process = self._forked(
                arguments, (nothing.fileno(), file.fileno(), file.fileno())
            ) or subprocess.Popen(
                dvc_command(*arguments),
                cwd=self.root,
                env=environment(self.variables),
                stdin=nothing,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only; stop() passes it on
            )

    def _forked(self, arguments: list[str], streams: tuple[int, int, int]) -> Child | None:
        """The command in a child of the fork server; None if it has to be a process of its own."""
        if ADDRESS not in self.variables:
            return None
        return start(
            self.variables[ADDRESS],
            "dvc",
            ["dvc", *arguments],
            folder=str(self.root),
            environment=environment(self.variables),
            streams=streams,
        )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def poll(self) -> int | None:
        """Return the exit code as in a shell; None while the stage runs.

        If DVC has failed and its command still runs, the command is stopped first.
        """
        code = self.process.poll()
        if code is None:
            return None
        if isinstance(self.process, Child) and self.process.lost and self._ends_by_itself():
            return None
        if code and self._has_processes() and self._end_processes():
            return None
        return 128 - code if code < 0 else code

    def _ends_by_itself(self) -> bool:
        """After the end of the fork server: the stage fails, so DVC ends soon. Wait for it.

        A signal could reach DVC while it rewrites its list of the files in use.
        """
        if self.lost_at is None:
            self.lost_at = time.monotonic()
            with self.log.open("a") as file:
                file.write(f"{LOST}\n")
        return time.monotonic() - self.lost_at < LOST_SECONDS and self._has_processes()

    def has_run(self) -> bool:
        """True if DVC started the command of the stage; it can also restore cached outputs."""
        return STARTED.encode() in self.log.read_bytes()

    def fraction(self) -> float | None:
        """Progress in [0, 1], by the last progress bar that the stage wrote; None without one."""
        found = PERCENT.findall(self._end())
        return int(found[-1]) / 100 if found else None

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the output, without the intermediate states of bars."""
        text = self._end().decode(errors="replace")
        shown = [line.rsplit("\r", 1)[-1].rstrip() for line in text.splitlines()]
        return "\n".join([line for line in shown if line][-lines:])

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the stage. After STOP_SECONDS, `poll` kills them."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(ProcessLookupError):  # they have ended
            _signal_group(self.process.pid, number)

    def _end_processes(self) -> bool:
        """Stop the processes that DVC left. Return False if there is nothing more to do."""
        if self.kill_at is None:
            self.stop(signal.SIGTERM)
        late = time.monotonic() - (self.kill_at or 0.0)
        if late > 0:
            self.stop(KILL)
        return late < KILL_SECONDS

    def _has_processes(self) -> bool:
        try:
            _signal_group(self.process.pid, None)
        except ProcessLookupError:
            return False
        return True

    def _end(self) -> bytes:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read()


def _signal_group(pid: int, number: signal.Signals | None) -> None:
    """Send a signal to the process group of `pid`; None only asks whether it has processes.

    Windows has no process groups: there, the process and its descendants are ended.

    Raises:
        ProcessLookupError: no process is left.
    """
    if hasattr(os, "killpg"):
        os.killpg(pid, number or 0)
        return
    import psutil

    try:
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process] if number else ():
            each.terminate()
    except psutil.NoSuchProcess:
        raise ProcessLookupError from None
