"""Run the stages of a graph side by side: at most `jobs` at a time, each after those it needs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import takewhile
from pathlib import Path
from types import FrameType

from latentlab.pipeline.durations import PLACE, Durations
from latentlab.pipeline.graph import Graph
from latentlab.pipeline.job import KILL, Job
from latentlab.pipeline.progress import Progress

FOLDER = ".checkpoints/repro"  # logs; git and DVC ignore it
POLL_SECONDS = 0.1


@dataclass
class Outcome:
    """`failed`: stage → its exit code. `skipped`: stages that need a failed one."""

    ended: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    stopped_by: signal.Signals | None = None


class Scheduler:
    """`pending`: the stages of `graph` to run; the others are up to date.

    `devices`: the numbers of the GPUs; each job gets one of them if there are several. With more
    jobs than devices, jobs share a device.
    `variables`: of the environment of each job, in addition to those of this process.
    `make_job` starts a stage: a process here, or a job of a cluster.
    `on_end(stage)` is called when a stage has ended well and the next ones have started.
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
        variables: Mapping[str, str] | None = None,
        make_job: Callable[[str, Path, Path, dict[str, str]], Job] = Job,
        on_end: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.graph, self.pending, self.root, self.jobs = graph, pending, root, jobs
        self.progress, self.on_end, self.make_job = progress, on_end, make_job
        self.variables = threads() if variables is None else variables
        several = devices if len(devices) > 1 else [""]
        self.free = [several[i % len(several)] for i in range(jobs)]
        self.durations = Durations(root / PLACE)
        self.running: dict[Job, str] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run all stages. After a failure, the stages that do not need the failed one still run.

        SIGINT, SIGTERM and SIGHUP are passed on to the running stages; then no other stage starts.
        A second signal kills them.
        """
        sorter = TopologicalSorter(self.graph.needs)
        sorter.prepare()
        ready: list[str] = []
        ended: list[str] = []
        with self._signals(), self.progress:
            try:
                while self.outcome.stopped_by is None:
                    self._admit(sorter, ready)
                    self._start(ready)
                    while ended:  # the next stages run while the page is written
                        self.on_end(ended.pop(0))
                    if not self.running:
                        break
                    self.progress.show(list(self.running), self._seconds_left)
                    time.sleep(POLL_SECONDS)
                    ended = self._collect()
                    sorter.done(*ended)
            finally:
                for stage in [*ended, *self._stop_all()]:
                    self.on_end(stage)
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
        rest = self._rest() if ready and self.free else {}
        while ready and self.free:
            stage = min(ready, key=lambda stage: self._priority(stage, rest))
            ready.remove(stage)
            device = self.free[0]
            variables = dict(self.variables)
            if device:
                variables["CUDA_VISIBLE_DEVICES"] = device
            job = self.make_job(stage, self.root, self.root / FOLDER / f"{stage}.log", variables)
            self.running[job] = self.free.pop(0)

    def _priority(self, stage: str, rest: Mapping[str, float]) -> tuple[bool, float]:
        """Trainings and tasks after all others, so that results are shown early.

        The first training is the shortest; then comes the stage with the longest rest.
        """
        slow = stage.startswith(("train@", "train_seed@", "tasks@"))
        begun = [*self.outcome.ended, *(job.stage for job in self.running)]
        first = not any(s.startswith("train@") for s in begun)
        return (slow, self.durations[stage] if slow and first else -rest[stage])

    def _rest(self) -> dict[str, float]:
        """Stage → expected seconds from its start to the end of all that needs it, in a row."""
        rest = dict.fromkeys(self.graph.needs, 0.0)
        for stage in reversed(list(TopologicalSorter(self.graph.needs).static_order())):
            rest[stage] += self.durations[stage]
            for needed in self.graph.needs[stage]:
                rest[needed] = max(rest[needed], rest[stage])
        return rest

    def _collect(self) -> list[str]:
        """Return the stages that have ended well since the last call. Note those that failed."""
        ended = []
        stopped = self.outcome.stopped_by is not None
        for job in list(self.running):
            code = job.poll()
            if code is None or (code and not stopped and job.try_again()):
                continue
            self.free.append(self.running.pop(job))
            self.progress.ended(job, code, stopped=stopped)
            if code:
                self.outcome.failed[job.stage] = code
                continue
            ended.append(job.stage)
            self.outcome.ended.append(job.stage)
            if job.has_run():
                self.durations.note(job.stage, job.seconds)
        return ended

    def _seconds_left(self) -> float:
        """Expected seconds to the end: all places stay busy, or the longest chain counts."""
        known = {job.stage: job.seconds for job in self.running}
        waiting = self.pending - {*self.outcome.ended, *self.outcome.failed}
        left = {s: max(0.0, self.durations[s] - known.get(s, 0.0)) for s in waiting}
        rest = self._rest()
        chain = max((rest[s] - known.get(s, 0.0) for s in waiting), default=0.0)
        return max(sum(left.values()) / self.jobs, chain, 0.0)

    def _stop_all(self) -> list[str]:
        """Pass the signal on to the running stages and wait for them. `Job.poll` kills them.

        Return the stages that ended well all the same.
        """
        ended: list[str] = []
        for job in self.running:
            job.stop(self.outcome.stopped_by or signal.SIGTERM)
        while self.running:
            ended += self._collect()
            time.sleep(POLL_SECONDS)
        return ended

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Inside the block, the first signal ends the loop of `run`, the second kills stages."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.outcome.stopped_by is None:
                self.outcome.stopped_by = signal.Signals(number)
                return
            for job in self.running:
                job.stop(KILL)

        names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
        handled = [signal.Signals[name] for name in names if hasattr(signal, name)]
        before = [signal.signal(number, note) for number in handled]
        try:
            yield
        finally:
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)


def threads() -> dict[str, str]:
    """Return the variable of the number of threads of a job: the user's, or one thread."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def gpu_numbers() -> list[str]:
    """The numbers of the GPUs that jobs may use, as in CUDA_VISIBLE_DEVICES; [] without a GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:  # as in CUDA, the entries after an invalid one do not count
        entries = [entry.strip() for entry in visible.split(",")]
        return list(takewhile(lambda entry: entry not in ("", "-1"), entries))
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def default_jobs(devices: Sequence[str]) -> int:
    """One job for each GPU; without a GPU, one for each CPU core that this process may use."""
    if devices:
        return len(devices)
    from joblib import cpu_count  # knows affinity and the limits of a container

    return int(cpu_count())
