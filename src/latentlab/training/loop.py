"""Fit one experiment: the Trainer, its company, its signals, and what it cost."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from latentlab.config import Experiment, HardwareSettings, TrainerSettings
from latentlab.contracts import LatentlabError
from latentlab.data.module import ImageDataModule
from latentlab.memory import of_memory
from latentlab.training.best import Best
from latentlab.training.callbacks import EMA, Bar, Curves, SeedEachBatch, Unfused
from latentlab.training.checkpoints import Checkpoints
from latentlab.training.devices import Together, lost_another, peak_memory_mb, placement
from latentlab.training.resume import Resume, Row

if TYPE_CHECKING:
    from latentlab.tracking import Run, RunByClerk


@dataclass
class History:
    """The curves of one training, and the run that shares them."""

    run: Run | RunByClerk | None = None
    rows: list[Row] = field(default_factory=list)
    batch_size: int = 1

    def __call__(self, split: str, values: dict[str, float], images: int) -> None:
        self.rows += [(split, quantity, images, value) for quantity, value in values.items()]
        if self.run is not None:
            step = images // self.batch_size
            self.run.log({f"{split}/{name}": value for name, value in values.items()}, step)
            if split == "val":
                self.run.flush()

    def csv(self) -> str:
        lines = ["split,quantity,step,images,value"]
        for split, quantity, images, value in self.rows:
            lines.append(f"{split},{quantity},{images // self.batch_size},{images},{value!r}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Fitted:
    """What a finished training leaves behind, besides the trained model itself."""

    history: History
    cost: dict[str, float]
    device: str
    is_main_process: bool
    best: Best | None = None


@dataclass(frozen=True)
class Schedule:
    """Whole epochs: as many as it takes to see the images, and a validation after the last one."""

    epochs: int
    validate_every: int
    steps: int

    @classmethod
    def of(cls, settings: TrainerSettings, steps_per_epoch: int) -> Schedule:
        wanted = math.ceil(settings.images / (steps_per_epoch * settings.batch_size))
        every = math.ceil(wanted / settings.validations)
        epochs = math.ceil(wanted / every) * every
        return cls(epochs, every, epochs * steps_per_epoch)


def data_module(experiment: Experiment) -> ImageDataModule:
    """The experiment's data; LatentlabError at once if one batch is more than there are images."""
    project = experiment.project
    return ImageDataModule(
        project.prepared,
        batch_size=experiment.trainer.batch_size,
        seed=project.seed,
        loader=project.hardware.loader,
        num_workers=project.hardware.num_workers,
    )


def fit(
    experiment: Experiment,
    data: ImageDataModule,
    *,
    work: Path,
    run: Run | RunByClerk | None = None,
    resume: Resume | None = None,
    score: Callable[[Any], float] | None = None,
) -> Fitted:
    """Train `experiment.model` in place, from `resume` on if given; checkpoints go into `work`.

    `score` of the model, the less the better, is asked for at each validation to find its best.

    Raises LatentlabError for a non-finite loss or more memory than there is, SystemExit 143 on
    SIGTERM and 130 on Ctrl-C; the last good checkpoint then stays in `work`.
    """
    settings, hardware, model = experiment.trainer, experiment.project.hardware, experiment.model
    schedule = Schedule.of(settings, data.steps_per_epoch)
    rows, before = (resume.rows, resume.seconds) if resume else ([], 0.0)
    start = time.perf_counter() - before
    history = History(run=run, rows=rows, batch_size=settings.batch_size)
    bar = Bar(experiment.name, schedule.steps)
    curves = Curves(
        history,
        log_every=settings.log_every,
        batch_size=settings.batch_size,
        advance=bar.update,
    )
    checkpoints = Checkpoints(
        work,
        lambda: {
            "run_id": run.id if run else "",
            "rows": rows,
            "seconds": time.perf_counter() - start,
        },
        curves,
        every_seconds=hardware.checkpoint_seconds,
    )
    best = Best(score, history, batch_size=settings.batch_size) if score else None
    _quiet()
    trainer = _trainer(
        hardware,
        **placement(hardware, model, sync_batchnorm=settings.sync_batchnorm),
        precision=settings.precision,
        max_epochs=schedule.epochs,
        check_val_every_n_epoch=schedule.validate_every,
        callbacks=[
            SeedEachBatch(experiment.project.seed),
            *([best] if best else []),
            *_options(settings, model),
            curves,
            checkpoints,
            bar,
            Together(),
        ],
        profiler=Untimed(),
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=work,
    )
    with _orderly_end(settings):
        trainer.fit(
            model,
            datamodule=data,
            ckpt_path=resume.path if resume else None,
            weights_only=True,
        )
    seconds = time.perf_counter() - start
    model.float()  # also what was trained in 64-true is kept, scored and served in float32
    cost = {
        "train_seconds": round(seconds, 4),
        "images_per_second": round(schedule.steps * settings.batch_size / seconds, 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    device = str(trainer.strategy.root_device)
    return Fitted(history, cost, device, trainer.is_global_zero, best)


def _trainer(hardware: HardwareSettings, **settings: Any) -> Trainer:
    """Lightning's. Raises LatentlabError for devices that are not there or do not go together."""
    try:
        return Trainer(**settings)
    except (MisconfigurationException, ValueError) as error:
        places = ("accelerator", "devices", "strategy")
        asked = ", ".join(f"{key}: {getattr(hardware, key)}" for key in places)
        raise LatentlabError(
            f"`hardware` of params.yaml ({asked}) is not to be had here; auto takes what there is"
            f" ({error})"
        ) from error


class Untimed(PassThroughProfiler):
    """Times nothing, and faster than Lightning's: it makes a new context 50 times a step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self.nothing


def _options(settings: TrainerSettings, model: LightningModule) -> Iterator[Callback]:
    """What the trainer's settings ask of the model and its optimizers."""
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile:
        for network in model.children():
            network.compile()
    if not settings.fused:
        yield Unfused()
    if settings.ema_decay is not None:
        yield EMA(settings.ema_decay)


@contextmanager
def _orderly_end(settings: TrainerSettings) -> Iterator[None]:
    """Give every way to stop early its own exit, none of which looks like success."""
    try:
        yield
    except SIGTERMException:
        # Lightning would exit with 0 here, and DVC would cache a half-trained model as finished
        print("stopped by SIGTERM: not finished", file=sys.stderr)
        raise SystemExit(143) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise SystemExit(130) from None  # what shells expect; Lightning says 1
        raise
    except (RuntimeError, MemoryError) as error:
        if of_memory(error):
            raise LatentlabError(
                f"out of memory with batches of {settings.batch_size}: lower trainer.batch_size"
                f" ({error})"
            ) from None
        if not isinstance(error, RuntimeError) or not lost_another(error):
            raise
        raise LatentlabError("another process of this training ended: see what it said") from error


def _quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning sets this; each step of Adam would then look for a library of NVIDIA's on the disk
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    # our loaders yield whole batches from memory: more workers would only slow them down
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # of grey images, channels last is the same memory as channels first; DDP sees two layouts
    warnings.filterwarnings("ignore", ".*Grad strides do not match bucket view strides.*")
    # lightning 2.6 asks torch ≥ 2.13's pytrees in a way that torch has deprecated
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
