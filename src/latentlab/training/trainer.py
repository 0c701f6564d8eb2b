"""Lightning's Trainer for one experiment: its arguments, its exit codes, its warnings."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning import Callback, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from latentlab.config import Experiment, HardwareSettings, TrainerSettings
from latentlab.training.distributed import device_arguments, is_peer_failure
from latentlab.utils.bfloat16 import computes_in_bfloat16
from latentlab.utils.errors import LatentlabError
from latentlab.utils.memory import is_out_of_memory

if TYPE_CHECKING:
    from latentlab.training.loop import Schedule


def make_trainer(
    experiment: Experiment, schedule: Schedule, callbacks: list[Callback], work: Path
) -> Trainer:
    """Return Lightning's Trainer. Raises LatentlabError for devices that this machine lacks."""
    settings, hardware, model = experiment.trainer, experiment.project.hardware, experiment.model
    devices = device_arguments(hardware, model, sync_batchnorm=settings.sync_batchnorm)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile:
        for network in model.children():
            network.compile()
    try:
        trainer = Trainer(
            **devices,
            precision=settings.precision,
            max_epochs=schedule.epochs,
            check_val_every_n_epoch=schedule.validate_every,
            callbacks=callbacks,
            profiler=NullProfiler(),
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=work,
        )
    except (MisconfigurationException, ValueError) as error:
        raise _hardware_error(hardware, error) from error
    if settings.precision == "bf16-mixed" and not computes_in_bfloat16(
        trainer.strategy.root_device
    ):
        print(
            "trainer.precision is bf16-mixed, but this processor has no instructions for bfloat16"
            " and emulates it: 32-true is faster here",
            file=sys.stderr,
        )
    return trainer


def _hardware_error(hardware: HardwareSettings, error: Exception) -> LatentlabError:
    keys = ("accelerator", "devices", "strategy")
    requested = ", ".join(f"{key}: {getattr(hardware, key)}" for key in keys)
    return LatentlabError(
        f"params.yaml asks for hardware that this machine does not have ({requested}): {error}."
        " Set the value under hardware to auto"
    )


class NullProfiler(PassThroughProfiler):
    """Measure nothing. Lightning's version creates a new context 50 times in each step."""

    context = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self.context


@contextmanager
def exit_codes(settings: TrainerSettings) -> Iterator[None]:
    """Exit with an error code or LatentlabError if the training stops before its end."""
    try:
        yield
    except SIGTERMException:
        # Lightning would exit with 0, and DVC would store an unfinished training as a result
        print("SIGTERM stopped the training: it is not finished", file=sys.stderr)
        raise SystemExit(143) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise SystemExit(130) from None  # the shell's code for Ctrl-C; Lightning exits with 1
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise LatentlabError(
                f"out of memory with trainer.batch_size {settings.batch_size} ({error}): set a"
                " smaller batch_size"
            ) from None
        if isinstance(error, RuntimeError) and is_peer_failure(error):
            message = "another process of this training has failed: see its error message"
            raise LatentlabError(message) from error
        raise


def quiet_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # set by Lightning; each step of Adam would then look for an NVIDIA library on the disk
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    # the loaders yield whole batches from memory, so more workers would make them slower
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # grey images have the same layout in channels first and channels last; DDP reports a difference
    warnings.filterwarnings("ignore", ".*Grad strides do not match bucket view strides.*")
    # lightning 2.6 uses a function that torch 2.13 has deprecated
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
