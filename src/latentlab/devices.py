"""Where a training runs: one process or many, on which devices, at what peak of memory."""

from __future__ import annotations

import os
import resource
import sys

import torch
from lightning import LightningModule

from latentlab.config import HardwareSettings


def strategy(hardware: HardwareSettings, model: LightningModule) -> str:
    """Two players step in turn, so under DDP each step leaves the other's parameters unused."""
    several = _num_processes(hardware) > 1 and hardware.strategy in ("auto", "ddp")
    if several and not model.automatic_optimization:
        return "ddp_find_unused_parameters_true"
    return hardware.strategy


def _num_processes(hardware: HardwareSettings) -> int:
    """How many processes will share the training: told by the launcher, asked for, or found."""
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if str(hardware.devices) not in ("auto", "-1"):
        return max(launched, int(hardware.devices))
    found = torch.cuda.device_count() if hardware.accelerator in ("auto", "gpu", "cuda") else 1
    return max(launched, found)


def peak_memory_mb() -> float:
    """Peak resident memory of this process, or of the GPU where one was used, in MiB."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
