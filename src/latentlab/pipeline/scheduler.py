"""Run the stages of a graph side by side: at most `jobs` at a time, each after those it needs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

from latentlab.pipeline.graph import Graph
from latentlab.pipeline.job import Job
from latentlab.pipeline.progress import Progress
from latentlab.utils.files import write_atomic

FOLDER = ".checkpoints/repro"  # logs and durations; git and DVC ignore it
POLL_SECONDS = 0.1
STOP_SECONDS = 30.0  # a stage may use this time to write its checkpoint
USUAL_SECONDS = {"train": 20.0, "evaluate": 8.0, "tasks": 15.0}  # before the first measurement
OTHER_SECONDS = 6.0
LOCK_TRIES = 10


@dataclass
class Outcome:
    """`failed`: stage → its exit code. `skipped`: stages that need a failed one."""

    ended: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    stopped_by: signal.Signals | None = None


class Scheduler:
    """`pending`: the stages of `graph` to run; the others are up to date.

    `devices`: the numbers of the GPUs; each job gets one of them if there are several.
    `on_end(stage)` is called when a stage has ended well.
    """

    def __init__(
        self,
        graph: Graph,
        pending: set[str],
        *,
        root: Path,
        jobs: int,
        devices: Sequence[str],
        progress: Progress,
        on_end: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.graph, self.pending, self.root, self.jobs = graph, pending, root, jobs
        self.progress, self.on_end = progress, on_end
        self.free = list(devices) if len(devices) > 1 else [""] * jobs
        self.durations = Durations(root / FOLDER / "seconds.json")
        self.running: dict[Job, str] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run all stages. After a failure, the stages that do not need the failed one still run.

        SIGINT and SIGTERM are passed on to the running stages; then no other stage starts.
        """
        sorter = TopologicalSorter(self.graph.needs)
        sorter.prepare()
        ready: list[str] = []
        with self._signals(), self.progress:
            while self.outcome.stopped_by is None:
                self._admit(sorter, ready)
                self._start(ready)
                if not self.running:
                    break
                self.progress.show(list(self.running), self._seconds_left())
                time.sleep(POLL_SECONDS)
                for stage in self._collect():
                    sorter.done(stage)
            self._stop_all()
        ran = {*self.outcome.ended, *self.outcome.failed}
        self.outcome.skipped = [s for s in self.graph.needs if s in self.pending - ran]
        return self.outcome

    def _admit(self, sorter: TopologicalSorter[str], ready: list[str]) -> None:
        """Add to `ready` the stages whose needs have ended. Stages that are up to date end here."""
        while new := sorter.get_ready():
            for stage in new:
                if stage in self.pending:
                    ready.append(stage)
                else:
                    sorter.done(stage)

    def _start(self, ready: list[str]) -> None:
        """Start ready stages while there are free places."""
        ready.sort(key=self._priority)
        while ready and self.free and len(self.running) < self.jobs:
            stage, device = ready.pop(0), self.free.pop(0)
            variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            if device:
                variables["CUDA_VISIBLE_DEVICES"] = device
            log = self.root / FOLDER / f"{stage}.log"
            self.running[Job(stage, self.root, log, variables)] = device

    def _priority(self, stage: str) -> tuple[bool, float]:
        """Trainings and tasks after all others, so that results are shown early.

        The first training is the shortest; then comes the stage with the longest rest.
        """
        slow = stage.startswith(("train@", "tasks@"))
        first = not any(s.startswith("train@") for s in self._begun())
        return (slow, self.durations[stage] if slow and first else -self._rest(stage))

    def _begun(self) -> list[str]:
        return [*self.outcome.ended, *(job.stage for job in self.running)]

    def _rest(self, stage: str) -> float:
        """Expected seconds from the start of `stage` to the end of all that needs it, in a row."""
        users = [s for s, needs in self.graph.needs.items() if stage in needs]
        return self.durations[stage] + max(map(self._rest, users), default=0.0)

    def _collect(self) -> list[str]:
        """Return the stages that have ended well since the last call. Note those that failed."""
        ended = []
        for job in [job for job in self.running if job.code is not None]:
            if job.was_locked_out() and job.tries < LOCK_TRIES:
                job.start()
                continue
            self.free.append(self.running.pop(job))
            if job.code == 0:
                ended.append(job.stage)
                self.durations.note(job.stage, job.seconds)
                self.outcome.ended.append(job.stage)
                self.on_end(job.stage)
            else:
                self.outcome.failed[job.stage] = job.code or 0
            self.progress.ended(job)
        return ended

    def _seconds_left(self) -> float:
        """Expected seconds to the end if all places stay busy, or of the longest chain."""
        known = {job.stage: job.seconds for job in self.running}
        waiting = self.pending - {*self.outcome.ended, *self.outcome.failed}
        rest = {s: max(0.0, self.durations[s] - known.get(s, 0.0)) for s in waiting}
        chain = max((self._rest(s) - known.get(s, 0.0) for s in waiting), default=0.0)
        return max(sum(rest.values()) / self.jobs, chain, 0.0)

    def _stop_all(self) -> None:
        """Pass the signal on, wait for the stages, and kill those that do not end."""
        number = self.outcome.stopped_by or signal.SIGTERM
        limit = time.monotonic() + STOP_SECONDS
        for job in self.running:
            job.stop(number)
        while self.running and time.monotonic() < limit:
            self._collect()
            time.sleep(POLL_SECONDS)
        for job in self.running:
            job.stop(signal.SIGKILL)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Inside the block, SIGINT and SIGTERM end the loop of `run` instead of this process."""

        def note(number: int, frame: FrameType | None) -> None:
            self.outcome.stopped_by = signal.Signals(number)

        handled = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, note) for number in handled]
        try:
            yield
        finally:
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)


class Durations:
    """Seconds of each stage when it ran last, from a JSON file; a usual value for new stages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, float] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.known = {}

    def __getitem__(self, stage: str) -> float:
        usual = USUAL_SECONDS.get(stage.split("@")[0], OTHER_SECONDS)
        return float(self.known.get(stage, usual))

    def note(self, stage: str, seconds: float) -> None:
        self.known[stage] = round(seconds, 2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, json.dumps(self.known).encode())


def gpu_numbers() -> list[str]:
    """The numbers of the GPUs that jobs may use, as in CUDA_VISIBLE_DEVICES; [] without a GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [number for number in visible.split(",") if number.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def default_jobs(devices: Sequence[str]) -> int:
    """One job for each GPU, or for each CPU core without a GPU."""
    return len(devices) or len(os.sched_getaffinity(0))
