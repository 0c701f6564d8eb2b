"""Callbacks of a training: a seed for each batch, curves, a progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed
from tqdm import tqdm

from latentlab.contracts import weighted_means
from latentlab.utils.errors import LatentlabError

LogMetrics = Callable[[str, dict[str, float], int], None]
"""A function of (split, values by quantity, number of training images so far)."""


class SeedEachBatch(Callback):
    """Seed torch before each batch with a hash of (seed, epoch, batch index, rank).

    So the noise of a batch does not depend on what was computed before. A resumed training, and a
    training with more validations, draws the same noise.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        position = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        _seed(hash_seed(position), pl_module.device)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        position = (self.seed, trainer.current_epoch, -1, trainer.global_rank)
        _seed(hash_seed(position), pl_module.device)


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of `device`. `torch.manual_seed` takes 0.1 ms for all."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def hash_seed(position: tuple[int, ...]) -> int:
    """Hash integers to 63 bits (multiply and xor-shift), so that neighbours get unlike seeds."""
    state = 0x9E3779B97F4A7C15
    for number in position:
        state = ((state ^ (number & 0xFFFFFFFF)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state ^= state >> 29
    return state >> 1


class MetricAccumulator(Callback):
    """Collect the dicts {quantity: scalar tensor} that the training and validation steps return.

    Every `log_every_n_steps` steps, the mean of each quantity is passed to `log_metrics`, and the
    number of steps to `on_log`. A quantity that some steps leave out has the mean of the others,
    whatever the length of the window. There is one device synchronization for each such window, not
    one for each step. A validation mean weighs each batch by its size. Raises
    NonFiniteLossError for a window with a value that is not finite.
    """

    def __init__(
        self,
        log_metrics: LogMetrics,
        *,
        log_every_n_steps: int,
        batch_size: int,
        on_log: Callable[[int], None],
    ) -> None:
        self.log_metrics, self.on_log = log_metrics, on_log
        self.log_every_n_steps, self.batch_size = log_every_n_steps, batch_size
        self.window: list[dict[str, Tensor]] = []
        self.validation: list[tuple[int, dict[str, Tensor]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.window.append({name: value.detach() for name, value in outputs.items()})
        if _steps_done(trainer, batch_idx) % self.log_every_n_steps == 0:
            self.flush(_steps_done(trainer, batch_idx))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flush(trainer.fit_loop.total_batch_idx + 1)

    def flush(self, steps: int) -> None:
        """Log the means of the window that ends with step number `steps`."""
        if not self.window:
            return
        rows, self.window = _values_of(self.window), []
        for index, row in enumerate(rows):
            if not all(map(math.isfinite, row.values())):
                raise NonFiniteLossError(steps - len(rows) + index + 1, row)
        self.log_metrics("train", _means_of_steps(rows), steps * self.batch_size)
        self.on_log(len(rows))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.validation.append((len(batch[0]), outputs))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        means = _means_over_processes(self.validation)
        self.validation = []
        if means and not trainer.sanity_checking:
            images = (trainer.fit_loop.total_batch_idx + 1) * self.batch_size
            self.log_metrics("val", means, images)


def _values_of(window: list[dict[str, Tensor]]) -> list[dict[str, float]]:
    """Means over the processes of the quantities of each step, with one synchronization."""
    tensors = torch.stack([value for row in window for value in row.values()])
    values = iter((_sum_over_processes(tensors) / _num_processes()).double().tolist())
    return [{name: next(values) for name in row} for row in window]


def _means_of_steps(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each quantity over the steps that have it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row[name] for row in rows if name in row] for name in names}
    whole = [name for name in names if len(columns[name]) == len(rows)]
    table = torch.tensor([[row[name] for name in whole] for row in rows], dtype=torch.float64)
    means = dict(zip(whole, table.mean(0).tolist(), strict=True))
    return {n: means[n] if n in means else math.fsum(columns[n]) / len(columns[n]) for n in names}


def _means_over_processes(rows: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
    """Weighted means over the rows of all processes. Each process has rows of its own images."""
    means = weighted_means(rows)
    if _num_processes() == 1:
        return means
    count, device = sum(count for count, _ in rows), next(iter(rows[0][1].values())).device
    sums = torch.tensor([*means.values(), 1.0], dtype=torch.float64, device=device) * count
    *totals, count = _sum_over_processes(sums).tolist()
    return {name: total / count for name, total in zip(means, totals, strict=True)}


def _num_processes() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _sum_over_processes(values: Tensor) -> Tensor:
    if _num_processes() > 1:
        distributed.all_reduce(values)
    return values


def _steps_done(trainer: Trainer, batch_idx: int) -> int:
    return trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1


class NonFiniteLossError(LatentlabError):
    """A loss is NaN or infinite. The message has the step and the value of each quantity."""

    def __init__(self, step: int, row: dict[str, float]) -> None:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in row.items())
        super().__init__(
            f"the loss is not finite at step {step}: {values}. The training has stopped. Use a"
            " smaller learning rate or trainer.precision 32-true, and check the data"
        )
        self.step = step


class UnfusedOptimizer(Callback):
    """Run every optimizer as separate operations instead of one fused kernel."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["fused"] = False


class ProgressBar(Callback):
    """A progress bar over all steps. It is updated once for each window of the curves."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.bar = tqdm(total=self.steps, desc=self.name, unit="step", mininterval=0.5)
            self.bar.update(trainer.fit_loop.total_batch_idx + 1)

    def update(self, steps: int) -> None:
        if self.bar is not None:
            self.bar.update(steps)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
