"""Stages as jobs of a cluster: SLURM, through submitit (pip install 'latentlab[cluster]').

One job of the cluster is one stage. It runs `dvc repro --single-item STAGE` in the project's
folder, which must lie on a file system that all machines share. The scheduler is the same as for
processes; it only polls other jobs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from latentlab.pipeline.job import Job
from latentlab.utils.errors import LatentlabError

EXECUTORS = ("slurm", "local")  # local: processes on this machine, to try submitit out
POLL_SECONDS = 0.2
CANCEL_SECONDS = 90.0  # SLURM kills a cancelled job 30 s after it has asked it to stop
LAUNCHER = ("SLURM_", "SUBMITIT_")  # with these variables, a stage waits for processes of srun


class Cluster:
    """Submits stages. `folder`: for the files of submitit, on the shared file system.

    `executor`: one of EXECUTORS. `cpus` is also the number of threads of a stage.

    Raises:
        LatentlabError: submitit is not installed, or there is no SLURM here.
    """

    def __init__(
        self,
        executor: str,
        folder: Path,
        *,
        cpus: int = 1,
        gpus: int = 0,
        memory_gb: int = 16,
        minutes: int = 240,
        partition: str | None = None,
        account: str | None = None,
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise LatentlabError(
                f"--executor {executor} needs submitit: pip install 'latentlab[cluster]'"
            ) from None
        self.cpus = cpus
        try:
            self.executor = submitit.AutoExecutor(folder=folder.resolve(), cluster=executor)
        except RuntimeError:
            raise LatentlabError(
                "--executor slurm finds no `srun`: run it on a machine that submits SLURM jobs, or"
                " leave the option out"
            ) from None
        optional = {"slurm_partition": partition, "slurm_account": account}
        self.executor.update_parameters(
            timeout_min=minutes,
            cpus_per_task=cpus,
            gpus_per_node=gpus,
            mem_gb=memory_gb,
            **{key: value for key, value in optional.items() if value is not None},
        )

    def make_job(self, stage: str, root: Path, log: Path, variables: dict[str, str]) -> Job:
        """Submit a stage. Other arguments as in `Job`."""
        self.executor.update_parameters(name=f"latentlab-{stage}")
        variables = {**variables, "OMP_NUM_THREADS": str(self.cpus)}
        return ClusterJob(self.executor, stage, root, log, variables)


class ClusterJob(Job):
    """A stage in the queue of a cluster, or running on one of its machines."""

    def __init__(
        self, executor: Any, stage: str, root: Path, log: Path, variables: dict[str, str]
    ) -> None:
        self.stage, self.root, self.log, self.variables = stage, root, log, variables
        self.began, self.is_waiting = time.monotonic(), True
        self.cancel_at: float | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")  # the output of an earlier run is not that of this job
        self.submitted = executor.submit(run_stage, stage, root.resolve(), log.resolve(), variables)

    def try_again(self) -> bool:
        """False: the machine that runs the stage has tried again already (`run_stage`)."""
        return False

    def poll(self) -> int | None:
        """Return the exit code of the stage; None while it waits or runs.

        A job that has ended without an exit code has failed, and the log says so.
        """
        if self.is_waiting and self.log.stat().st_size:
            self.began, self.is_waiting = time.monotonic(), False
        if self.submitted.done():
            return self._code()
        if self.cancel_at is not None and time.monotonic() - self.cancel_at > CANCEL_SECONDS:
            return 128 + signal.SIGTERM
        return None

    def stop(self, number: signal.Signals) -> None:
        """Cancel the job. The cluster asks its processes to stop, and kills them later."""
        if self.cancel_at is None:
            self.cancel_at = time.monotonic()
            self.submitted.cancel(check=False)

    def _code(self) -> int:
        if self.cancel_at is not None and not self.submitted.paths.result_pickle.exists():
            return 128 + signal.SIGTERM  # `result` would wait some seconds for this file
        try:
            return int(self.submitted.result())
        except Exception as error:  # submitit wraps whatever has happened
            if self.cancel_at is not None:
                return 128 + signal.SIGTERM
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            with self.log.open("a", encoding="utf-8") as file:
                file.write(
                    f"\nThe cluster job {self.submitted.job_id} has ended without a result, in the"
                    f" state {self.submitted.state}: it was cancelled, ran out of time or memory,"
                    f" or its machine failed ({first}).\n"
                )
            return 1


def run_stage(stage: str, root: Path, log: Path, variables: dict[str, str]) -> int:
    """Run a stage on the machine that the cluster has chosen. Return its exit code.

    The stage is stopped if this process is asked to stop. If another machine holds the lock of DVC,
    the stage is tried again.
    """
    with _without_launcher(), _interruptible():
        job = Job(stage, root, log, variables)
        try:
            while (code := job.poll()) is None or (code and job.try_again()):
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            job.stop(signal.SIGTERM)
            while (code := job.poll()) is None:
                time.sleep(POLL_SECONDS)
            return 128 + signal.SIGTERM
        return code


@contextmanager
def _without_launcher() -> Iterator[None]:
    """Hide the variables of the launcher: the stage decides on devices as on any machine."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(LAUNCHER)]:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, with which SLURM cancels a job, raises KeyboardInterrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
