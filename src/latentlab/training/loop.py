"""Train one experiment: its length, its callbacks, its curves, its cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback
from torch import Tensor

from latentlab.config import Experiment, TrainerSettings
from latentlab.config.step_contract import checked_steps
from latentlab.data.datamodule import ImageDataModule
from latentlab.training.best_checkpoint import BestCheckpoint, Score
from latentlab.training.callbacks import (
    MetricAccumulator,
    ProgressBar,
    SeedEachBatch,
    UnfusedOptimizer,
)
from latentlab.training.centering import center_inputs
from latentlab.training.checkpoints import PeriodicCheckpoint
from latentlab.training.distributed import DistributedSync, peak_memory_mb
from latentlab.training.ema import EMA
from latentlab.training.resume import ResumePoint, Row
from latentlab.training.trainer import exit_codes, make_trainer, quiet_lightning
from latentlab.training.training_samples import (
    TrainingSamples,
    frames_folder,
    training_samples,
    write_frame,
)

if TYPE_CHECKING:
    from latentlab.tracking import AnyRun


@dataclass
class History:
    """The curves of one training. They are also logged to `run`, if there is one."""

    run: AnyRun | None = None
    rows: list[Row] = field(default_factory=list)
    batch_size: int = 1

    def __call__(self, split: str, values: dict[str, float], images: int) -> None:
        """Add one value of each quantity, after `images` training images."""
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
class FitResult:
    """The result of a training, besides the model, which is trained in place.

    cost: train_seconds, images_per_second, peak_memory_mb; with a sampler that learns, also
    sampler_seconds, which train_seconds then contains. images: number of images trained on,
    counted once for each epoch. device: "cpu", "cuda:0", …. best: the best weights, if a score was
    given. samples: images at several times of the training, if the model decodes codes.
    """

    history: History
    cost: dict[str, float]
    images: int
    device: str
    is_main_process: bool
    best: BestCheckpoint | None = None
    samples: TrainingSamples | None = None

    def with_sampler(self, seconds: float) -> FitResult:
        """The same with the time that the fit of the sampler took."""
        total = round(self.cost["train_seconds"] + seconds, 4)
        own = {"train_seconds": total, "sampler_seconds": round(seconds, 4)}
        return replace(self, cost={**self.cost, **own})


@dataclass(frozen=True)
class Schedule:
    """The length of a training in whole epochs. The last epoch ends with a validation.

    epochs: number of epochs, a multiple of `validate_every`: at least as many as `total_images`
    needs, but at most `max_epochs`. So with 20 validations, `max_epochs` 50 gives 48 epochs; and
    with 2 validations, 3 epochs of images give 4.
    validate_every: epochs between two validations. steps: number of steps in all.
    """

    epochs: int
    validate_every: int
    steps: int

    @classmethod
    def of(cls, settings: TrainerSettings, steps_per_epoch: int) -> Schedule:
        needed = math.ceil(settings.total_images / (steps_per_epoch * settings.batch_size))
        limit = needed if settings.max_epochs is None else min(needed, settings.max_epochs)
        every = math.ceil(limit / settings.num_validations)
        epochs = math.ceil(limit / every) * every
        if settings.max_epochs is not None and epochs > settings.max_epochs:
            epochs -= every
        return cls(epochs, every, epochs * steps_per_epoch)


def data_module(experiment: Experiment) -> ImageDataModule:
    """Return the data of the experiment. Raises LatentlabError if a batch exceeds the images."""
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
    run: AnyRun | None = None,
    resume: ResumePoint | None = None,
    score: Score | None = None,
) -> FitResult:
    """Train `experiment.model` in place. Checkpoints are written into `work`.

    resume: where to start; None for the beginning. score: computed at each validation; the weights
    with the lowest value are returned as `best`.

    Raises LatentlabError for a loss that is not finite or too little memory, SystemExit(143) after
    SIGTERM, and SystemExit(130) after Ctrl-C. The last good checkpoint is then in `work`.
    """
    settings, model = experiment.trainer, experiment.model
    schedule = Schedule.of(settings, data.steps_per_epoch)
    start = time.perf_counter() - (resume.seconds if resume else 0.0)
    history = History(run, resume.rows if resume else [], settings.batch_size)
    best = BestCheckpoint(score, history, batch_size=settings.batch_size) if score else None

    def extra_state() -> dict[str, Any]:
        seconds = time.perf_counter() - start
        return {"run_id": run.id if run else "", "rows": history.rows, "seconds": seconds}

    quiet_lightning()
    center_inputs(model, data.split("train"))
    samples = training_samples(
        experiment,
        data.split("val"),
        num_validations=schedule.epochs // schedule.validate_every,
        on_frame=partial(
            _track_frame, frames_folder(work), run, schedule.steps * settings.batch_size
        ),
    )
    at_validations: list[Callback] = [
        callback for callback in (best, samples) if callback is not None
    ]
    callbacks = _callbacks(experiment, schedule, history, at_validations, work, extra_state)
    trainer = make_trainer(experiment, schedule, callbacks, work)
    if settings.precision == "64-true":
        model.double()  # before a checkpoint is loaded: Lightning converts after it, and rounds
    with exit_codes(settings), checked_steps(model):
        checkpoint = resume.path if resume else None
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    seconds = time.perf_counter() - start
    images = schedule.steps * settings.batch_size
    model.float()  # a model trained in 64-true is saved and evaluated in float32
    cost = {
        "train_seconds": round(seconds, 4),
        "images_per_second": round(images / seconds, 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    device = str(trainer.strategy.root_device)
    return FitResult(history, cost, images, device, trainer.is_global_zero, best, samples)


def _track_frame(
    folder: Path, run: AnyRun | None, total_images: int, images: int, frame: Tensor
) -> None:
    """Send a frame of TrainingSamples to `run`. The file is for the process of the run.

    Its step is the percentage of the training, so the frames of several runs can be compared.
    """
    if run is None:
        return
    with suppress(OSError):  # a full disk must not stop a training
        write_frame(folder, round(100 * images / total_images), frame)
        run.log_images(folder, key="samples")


def _callbacks(
    experiment: Experiment,
    schedule: Schedule,
    history: History,
    at_validations: list[Callback],
    work: Path,
    extra_state: Callable[[], dict[str, Any]],
) -> list[Callback]:
    """Return the callbacks in the order in which Lightning calls them."""
    settings = experiment.trainer
    bar = ProgressBar(experiment.name, schedule.steps)
    curves = MetricAccumulator(
        history,
        log_every_n_steps=settings.log_every_n_steps,
        batch_size=settings.batch_size,
        on_log=bar.update,
    )
    interval = experiment.project.hardware.checkpoint_interval_seconds
    return [
        SeedEachBatch(experiment.project.seed),
        *at_validations,
        *_optional_callbacks(settings),
        curves,
        PeriodicCheckpoint(work, extra_state, curves, every_seconds=interval),
        bar,
        DistributedSync(),
    ]


def _optional_callbacks(settings: TrainerSettings) -> Iterator[Callback]:
    if not settings.fused_optimizer:
        yield UnfusedOptimizer()
    if settings.ema_decay is not None:
        yield EMA(settings.ema_decay)
