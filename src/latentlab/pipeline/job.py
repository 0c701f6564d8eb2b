"""One running stage: a process `dvc repro --single-item STAGE` in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

PERCENT = re.compile(rb"(\d+)%\|")
LOCKED = "Unable to acquire lock"  # another DVC command held the lock for some seconds
TAIL_BYTES = 4000


class Job:
    """A stage that runs. Its output goes into the file `log`.

    `variables`: of the environment, in addition to those of this process.
    """

    def __init__(self, stage: str, root: Path, log: Path, variables: dict[str, str]) -> None:
        self.stage, self.root, self.log, self.variables = stage, root, log, variables
        self.tries = 0
        self.start()

    def start(self) -> None:
        """Start the process, also for a second time."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        self.tries += 1
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                ["dvc", "repro", "--single-item", self.stage],
                cwd=self.root,
                env={**os.environ, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only; stop() passes it on
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def code(self) -> int | None:
        """Exit code; None while the stage runs."""
        return self.process.poll()

    def was_locked_out(self) -> bool:
        """True if DVC did not start the stage because another DVC command held its lock."""
        return bool(self.code) and LOCKED in self.tail()

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
        """Send a signal to the stage and to all its processes."""
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(self.process.pid, number)

    def _end(self) -> bytes:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read()
