"""Devices and processes of a training, and how several processes end together.

All processes of a training work on one batch: each computes the gradients of its part, and DDP
averages them, so all have the same weights. If one process ends, all end.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, distributed
from torch.nn.modules.batchnorm import _NormBase

from latentlab.config import HardwareSettings
from latentlab.training.checkpoints import VerifiedCheckpointIO
from latentlab.utils import launch

# parts of the messages of gloo and NCCL if a connection to another process is lost
CONNECTION_LOST = ("closed by peer", "reset by peer", "Broken pipe", "Socket closed", "NCCL")


def device_arguments(
    hardware: HardwareSettings, model: LightningModule, *, sync_batchnorm: bool
) -> dict[str, Any]:
    """Return the Trainer's arguments about devices and machines.

    The number of processes of torchrun or srun overrides `hardware.devices`.
    """
    devices, machines = launch.launched_processes() or (hardware.devices, 1)
    several = machines * _num_devices(devices, hardware) > 1
    return {
        "accelerator": hardware.accelerator,
        "devices": devices,
        "num_nodes": machines,
        "strategy": _strategy(hardware, model) if several else hardware.strategy,
        "sync_batchnorm": several and sync_batchnorm and _can_sync_batchnorm(hardware, model),
        "plugins": [VerifiedCheckpointIO(), *_environment()],
    }


def _environment() -> list[Any]:
    """Lightning's plugin for the launcher of this process, as far as Lightning must be told it."""
    if launch.is_srun():
        # Lightning would write its own checkpoint before a requeue, and resume it with any config
        return [SLURMEnvironment(auto_requeue=False)]
    if tasks := launch.tasks_without_srun():
        if tasks > 1 and launch.is_main_process() and not launch.is_lightning_child():
            print(
                f"this SLURM job has {tasks} tasks, but no srun has started them: this process"
                " trains without them. With `srun` before the command, each task is a process",
                file=sys.stderr,
            )
        return [LightningEnvironment()]  # with SLURM's, it would wait for the other tasks
    return []


def _strategy(hardware: HardwareSettings, model: LightningModule) -> str:
    """Return Lightning's strategy for several processes.

    A GAN step uses the parameters of one network only. DDP then needs `find_unused_parameters`.
    """
    if hardware.strategy in ("auto", "ddp") and not model.automatic_optimization:
        return "ddp_find_unused_parameters_true"
    return "ddp" if hardware.strategy == "auto" else hardware.strategy


def _num_devices(devices: int | str, hardware: HardwareSettings) -> int:
    """Number of devices of this machine. `devices`: a number, a list "0,2", or "auto" for all."""
    if str(devices) in ("auto", "-1"):
        return torch.cuda.device_count() if _uses_cuda(hardware) else 1
    return int(devices) if str(devices).isdigit() else len(str(devices).strip(",").split(","))


def _uses_cuda(hardware: HardwareSettings) -> bool:
    return hardware.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _can_sync_batchnorm(hardware: HardwareSettings, model: LightningModule) -> bool:
    """PyTorch can share the batch statistics of several processes on GPUs only."""
    has_norm = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if has_norm and not _uses_cuda(hardware) and launch.is_main_process():
        print(
            "batch normalization: on CPUs, each process uses the statistics of its own part of the"
            " batch, so the result depends on the number of processes",
            file=sys.stderr,
        )
    return has_norm and _uses_cuda(hardware)


class DistributedSync(Callback):
    """Average running means and variances over the processes, and end all processes together.

    No other buffer is averaged: images that a model stores, counters and vectors of a power
    iteration have no mean. A model computes these equally in all processes.

    SIGTERM ends this process at once. Lightning would first inform the others in a collective
    operation, which can block forever if they are in another one. The others end because their
    connection is closed, or because torchrun or srun ends them.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        for buffer in running_statistics(pl_module):
            distributed.all_reduce(buffer)
            buffer /= trainer.world_size

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        signal.signal(signal.SIGTERM, _raise_sigterm)
        if launch.is_lightning_child() and sys.platform.startswith("linux"):
            pr_set_pdeathsig = 1  # prctl.h; GPU connections do not always report a lost process
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def running_statistics(model: torch.nn.Module) -> list[Tensor]:
    """The running means and variances of all normalization layers of a model."""
    layers = [layer for layer in model.modules() if isinstance(layer, _NormBase)]
    pairs = [(layer.running_mean, layer.running_var) for layer in layers]
    return [buffer for pair in pairs for buffer in pair if buffer is not None]


def _raise_sigterm(*_: Any) -> None:
    raise SIGTERMException


def is_peer_failure(error: RuntimeError) -> bool:
    """Return True if a collective operation failed because another process has ended."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return False
    collective = isinstance(error, distributed.DistError)
    return collective or any(message in str(error) for message in CONNECTION_LOST)


def peak_memory_mb() -> float:
    """Peak memory in MiB: of the GPU if one was used, else resident memory of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
