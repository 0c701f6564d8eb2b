"""Who started this process: torchrun, SLURM's srun, Lightning, or a shell. Read from its names.

Only the standard library: every stage asks, also those that need no torch.
"""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """True in the one process that tracks, writes and measures; true where there is only one."""
    if _torchrun():
        return _number("RANK") == 0
    if _srun():
        return _number("SLURM_PROCID") == 0
    return _number("NODE_RANK") == _number("LOCAL_RANK") == 0  # Lightning's own names


def launched() -> tuple[int, int] | None:
    """(processes on this machine, machines) that torchrun or srun started; None: neither did."""
    if _torchrun():
        here = _number("LOCAL_WORLD_SIZE", 1)
        return here, _number("WORLD_SIZE", 1) // here
    if _srun():
        machines = _number("SLURM_NNODES", 1)
        return _number("SLURM_NTASKS", 1) // machines, machines
    return None


def is_child() -> bool:
    """True in the processes that Lightning's own launcher adds to the one that a user started."""
    return launched() is None and _number("LOCAL_RANK") > 0


def by_srun() -> bool:
    """True if SLURM's srun decides who does what; torchrun inside of SLURM decides for itself."""
    return _srun() and not _torchrun()


def _torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _srun() -> bool:
    """As Lightning sees it: a shell within SLURM, so named, starts processes like any other."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in os.environ and not interactive


def _number(name: str, default: int = 0) -> int:
    return int(os.environ.get(name, default))
