"""Where a training runs: how many processes on which devices, and how they live and die together.

The processes of one training share every batch and agree on every gradient (DDP), so they hold the
same weights. None can go on alone: whatever ends one ends all.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import sys
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from latentlab import launcher
from latentlab.config import HardwareSettings
from latentlab.training.checkpoints import VerifiedIO

LOST = ("closed by peer", "reset by peer", "Broken pipe", "Socket closed", "NCCL")


def placement(
    hardware: HardwareSettings, model: LightningModule, *, sync_batchnorm: bool
) -> dict[str, Any]:
    """What Lightning's Trainer is told of devices and machines. A launcher's word counts most."""
    devices, machines = launcher.launched() or (hardware.devices, 1)
    several = machines * _count(devices, hardware) > 1
    return {
        "accelerator": hardware.accelerator,
        "devices": devices,
        "num_nodes": machines,
        "strategy": _strategy(hardware, model) if several else hardware.strategy,
        "sync_batchnorm": several and sync_batchnorm and _can_sync(hardware, model),
        # Lightning would leave a checkpoint of its own, resumed whatever the configuration
        "plugins": [VerifiedIO(), *([SLURMEnvironment(auto_requeue=False)] * launcher.by_srun())],
    }


def _strategy(hardware: HardwareSettings, model: LightningModule) -> str:
    """Two players step in turn, so under DDP each step leaves the other's parameters unused."""
    if hardware.strategy in ("auto", "ddp") and not model.automatic_optimization:
        return "ddp_find_unused_parameters_true"
    return "ddp" if hardware.strategy == "auto" else hardware.strategy


def _count(devices: int | str, hardware: HardwareSettings) -> int:
    """How many devices of this machine `devices` means: a number, a list "0,2", all there are."""
    if str(devices) in ("auto", "-1"):
        return torch.cuda.device_count() if _wants_cuda(hardware) else 1
    return int(devices) if str(devices).isdigit() else len(str(devices).strip(",").split(","))


def _wants_cuda(hardware: HardwareSettings) -> bool:
    return hardware.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _can_sync(hardware: HardwareSettings, model: LightningModule) -> bool:
    """PyTorch normalises over the batches of several processes on GPUs only."""
    normalises = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if normalises and not _wants_cuda(hardware) and launcher.is_main_process():
        print(
            "batch normalisation: each process on a CPU uses the statistics of its own share of"
            " the batch, so the result depends on the number of processes",
            file=sys.stderr,
        )
    return normalises and _wants_cuda(hardware)


class Together(Callback):
    """Let no process of several outlive the others, wait for one that is gone, or differ from it.

    SIGTERM ends this process at once. Lightning would first tell the others through a collective
    operation, which meets whatever operation they are in and may wait for ever; they notice by
    the closed connection, or are ended by torchrun or srun.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        for buffer in pl_module.buffers():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= trainer.world_size

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        signal.signal(signal.SIGTERM, _leave)
        if launcher.is_child() and sys.platform.startswith("linux"):
            pr_set_pdeathsig = 1  # prctl.h: a GPU's connections do not always tell of a death
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _leave(*_: Any) -> None:
    raise SIGTERMException


def lost_another(error: RuntimeError) -> bool:
    """Whether an operation that several processes share failed because one of them is gone."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return False
    shared = isinstance(error, distributed.DistError)
    return shared or any(sign in str(error) for sign in LOST)


def peak_memory_mb() -> float:
    """Peak resident memory of this process, or of the GPU where one was used, in MiB."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
