"""Which launcher started this process: torchrun, srun, Lightning, or none. Read from os.environ.

Only the standard library is used, because stages call this before torch is imported.
"""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Return True in the one process that writes, evaluates and logs to MLflow."""
    if _is_torchrun():
        return _number("RANK") == 0
    if is_srun():
        return _number("SLURM_PROCID") == 0
    return _number("NODE_RANK") == _number("LOCAL_RANK") == 0  # set by Lightning's launcher


def launched_processes() -> tuple[int, int] | None:
    """Return (processes on this machine, machines) of torchrun or srun; None without them."""
    if _is_torchrun():
        here = _number("LOCAL_WORLD_SIZE", 1)
        return here, _number("WORLD_SIZE", 1) // here
    if is_srun():
        machines = _number("SLURM_NNODES", 1)
        return _number("SLURM_NTASKS", 1) // machines, machines
    return None


def is_lightning_child() -> bool:
    """Return True in a process that Lightning's launcher added to the user's process."""
    return launched_processes() is None and _number("LOCAL_RANK") > 0


def is_srun() -> bool:
    """Return True if srun started the processes. Inside a SLURM job, torchrun can do so instead.

    A batch script, or a notebook in a job, has the variables of the job but not those of a step,
    which srun sets. As in Lightning, a job with the name of an interactive shell does not count.
    """
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return _is_slurm_job() and "SLURM_STEP_ID" in os.environ and not interactive


def tasks_without_srun() -> int:
    """Number of tasks of a SLURM job in which this process was started without srun; else 0."""
    return _number("SLURM_NTASKS") if _is_slurm_job() and not is_srun() else 0


def _is_slurm_job() -> bool:
    return "SLURM_NTASKS" in os.environ and not _is_torchrun()


def _is_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _number(name: str, default: int = 0) -> int:
    return int(os.environ.get(name, default))
