"""Seconds that a model needs for one training image, measured by training it for about a second."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from latentlab.config import load_experiment
from latentlab.config.model_contract import require_model, require_outputs
from latentlab.contracts import Encoder, LikelihoodModel, Model
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.prepared import DatasetInfo, read_meta, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.training.callbacks import SeedEachBatch
from latentlab.training.fit_sampler import fit_classes
from latentlab.training.loop import Schedule
from latentlab.training.trainer import make_trainer, quiet_lightning
from latentlab.utils.errors import LatentlabError

SECONDS = 0.8  # of training steps for each model, after the first two
WARM_UP = 2  # steps: the first ones allocate memory and choose kernels
DECODED = 32  # codes of one batch
ROWS = 1500  # images of the data that a probe trains on, at least


@dataclass(frozen=True)
class Cost:
    """What a model needs on this machine.

    Attributes:
        seconds_per_image: of training.
        decode_seconds: of one image, without gradients.
        batch_size: of its config; lower if there are fewer training images.
        images: that its config trains on, counted once for each epoch.
        epochs: that its config trains for.
        has_encoder: False for a model that the evaluation inverts.
        has_likelihood: True for a model whose likelihood the evaluation estimates.
        best_checkpoint: True if its validations generate images.
    """

    seconds_per_image: float
    decode_seconds: float
    batch_size: int
    images: int
    epochs: int
    has_encoder: bool
    has_likelihood: bool
    best_checkpoint: bool


def write_sample(
    pixels: np.ndarray, num_classes: int, settings: DataSettings, folder: Path
) -> None:
    """Write a prepared folder of copies of a few images, with labels in turn, for `measure`.

    `pixels`: uint8 (n, C, S, S). Only the speed of a training on it means something.
    """
    count = max(ROWS, 20 * num_classes)
    rows = np.arange(count) % len(pixels)
    labels = np.arange(count) % num_classes if num_classes else None
    classes = tuple(map(str, range(num_classes))) if num_classes else None
    source = Source(settings.name, Images(pixels[rows], labels, range(count)), None, classes)
    write_prepared(source, replace(settings, on_duplicates="report"), 0, folder)


def measure(name: str, root: Path, sample: Path, counts: dict[str, int]) -> Cost:
    """Train configs/<name>.yaml of the project `root` for about a second.

    `sample`: a folder of `write_sample`. `counts`: images in the splits of the real data. The
    process must use as many threads as a stage does.

    Raises:
        LatentlabError: the model cannot be built or trained on these images.
    """
    dataset: DatasetInfo = read_meta(sample)
    experiment = load_experiment(name, dataset.data_spec, root)
    model: Any = experiment.model
    if name != "classifier":
        require_model(model)
        require_outputs(model, experiment.sampler, dataset.image_shape)
    batch_size = min(experiment.trainer.batch_size, largest_batch(counts["train"]))
    experiment = replace(experiment, trainer=replace(experiment.trainer, batch_size=batch_size))
    schedule = Schedule.of(experiment.trainer, counts["train"] // batch_size)
    # the validations come from the schedule of the real data: none of them belongs to this second
    unvalidated = replace(schedule, validate_every=schedule.epochs)
    data = ImageDataModule(sample, batch_size=batch_size, seed=0, loader="memory")
    fit_classes(experiment, data.split("train"))
    timer = _Timer()
    quiet_lightning()
    trainer = make_trainer(experiment, unvalidated, [SeedEachBatch(0), timer], sample)
    try:
        trainer.fit(model, datamodule=data)
    except (RuntimeError, ValueError, MemoryError, ArithmeticError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise LatentlabError(f"{name} cannot be trained on these images: {first}") from None
    return Cost(
        timer.seconds_per_step() / batch_size,
        _decode_seconds(model) if isinstance(model, Model) else 0.0,
        batch_size,
        schedule.steps * batch_size,
        schedule.epochs,
        has_encoder=isinstance(model, Encoder),
        has_likelihood=isinstance(model, LikelihoodModel),
        best_checkpoint=experiment.trainer.checkpoint == "best",
    )


def largest_batch(num_train_images: int) -> int:
    """Return the largest power of two that gives four steps in an epoch; at least 2."""
    return max(2, 2 ** ((num_train_images // 4).bit_length() - 1)) if num_train_images >= 8 else 2


def _decode_seconds(model: Any) -> float:
    """Return the seconds of one image: the faster of two batches, as the first one warms up."""
    model.eval()
    times = []
    with torch.inference_mode():
        for _ in range(2):
            z = torch.randn(DECODED, model.latent_dim, device=model.device)
            began = time.perf_counter()
            model.decode(z).cpu()
            times.append(time.perf_counter() - began)
    return min(times) / DECODED


class _Timer(Callback):
    """Note the time of each step, and stop the training after SECONDS."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        steps = len(self.times) - 1
        began = self.times[min(steps, WARM_UP)]
        slow = self.times[-1] - self.times[0] > 4 * SECONDS and steps >= WARM_UP
        if (steps > WARM_UP and self.times[-1] - began > SECONDS) or slow:
            trainer.should_stop = True

    def seconds_per_step(self) -> float:
        """Return the mean of the steps after the first two; of the last step if there are two."""
        begin = min(WARM_UP, len(self.times) - 2)
        return (self.times[-1] - self.times[begin]) / (len(self.times) - 1 - begin)
