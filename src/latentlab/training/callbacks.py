"""What accompanies a training: seeds per batch, curves, a progress bar. Knows no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, distributed
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from latentlab.contracts import LatentlabError, weighted_means

Sink = Callable[[str, dict[str, float], int], None]
"""Takes (split, values by quantity, training images seen so far)."""


class SeedEachBatch(Callback):
    """Seed torch by (seed, epoch, batch, rank), so that noise depends on the place alone.

    A training resumed at a batch, or validated more often, draws the same noise as any other.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        place = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        _seed(_mix(place), pl_module.device)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        place = (self.seed, trainer.current_epoch, -1, trainer.global_rank)
        _seed(_mix(place), pl_module.device)


def _seed(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and the device's; `torch.manual_seed` takes 0.1 ms for all."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _mix(place: tuple[int, ...]) -> int:
    """Fold integers into 63 bits so that neighbours land far apart (multiply and xor-shift)."""
    state = 0x9E3779B97F4A7C15
    for number in place:
        state = ((state ^ (number & 0xFFFFFFFF)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state ^= state >> 29
    return state >> 1


class Curves(Callback):
    """Collect what `training_step` and `validation_step` return, without a host sync per step.

    Each returns {quantity: scalar tensor}. Detached tensors wait in a list; every `log_every` steps
    they are stacked, checked and handed to `sink` as means. Validation means weigh batches by
    their size. Raises LatentlabError at a window that holds a non-finite number, naming the step.
    """

    def __init__(self, sink: Sink, *, log_every: int, batch_size: int, advance: Callable) -> None:
        self.sink, self.log_every, self.batch_size = sink, log_every, batch_size
        self.advance = advance  # told how many steps were done: the progress bar
        self.window: list[dict[str, Tensor]] = []
        self.validation: list[tuple[int, dict[str, Tensor]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.window.append({name: value.detach() for name, value in outputs.items()})
        if _steps_done(trainer, batch_idx) % self.log_every == 0:
            self.flush(_steps_done(trainer, batch_idx))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flush(trainer.fit_loop.total_batch_idx + 1)

    def flush(self, steps: int) -> None:
        """Hand over the mean of the window that ends with step number `steps`."""
        if not self.window:
            return
        names = list(self.window[0])
        table = torch.stack([torch.stack([row[n] for n in names]) for row in self.window])
        table = _sum_over_processes(table) / _processes()
        table = table.cpu().double()  # (steps, quantities): the window's one host sync
        self.window = []
        finite = table.isfinite().all(1)
        if not finite.all():
            bad = int((~finite).nonzero()[0])
            row = dict(zip(names, table[bad].tolist(), strict=True))
            raise NonFiniteLossError(steps - len(table) + bad + 1, row)
        self.sink("train", dict(zip(names, table.mean(0).tolist(), strict=True)), self._seen(steps))
        self.advance(len(table))

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
        means = _shared_means(self.validation)
        self.validation = []
        if means and not trainer.sanity_checking:
            self.sink("val", means, self._seen(trainer.fit_loop.total_batch_idx + 1))

    def _seen(self, steps: int) -> int:
        return steps * self.batch_size


def _shared_means(rows: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
    """Weighted means over the rows of all processes, each of which has seen its own images."""
    means = weighted_means(rows)
    if _processes() == 1:
        return means
    count, device = sum(count for count, _ in rows), next(iter(rows[0][1].values())).device
    sums = torch.tensor([*means.values(), 1.0], dtype=torch.float64, device=device) * count
    *totals, count = _sum_over_processes(sums).tolist()
    return {name: total / count for name, total in zip(means, totals, strict=True)}


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _sum_over_processes(numbers: Tensor) -> Tensor:
    if _processes() > 1:
        distributed.all_reduce(numbers)
    return numbers


def _steps_done(trainer: Trainer, batch_idx: int) -> int:
    return trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1


class NonFiniteLossError(LatentlabError):
    """A loss became NaN or infinite: says at which step and what each quantity was."""

    def __init__(self, step: int, row: dict[str, float]) -> None:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in row.items())
        super().__init__(
            f"the loss is not finite at step {step}: {values}. Training stopped."
            " Try a smaller lr, precision 32-true, or look at the data"
        )
        self.step = step


class Unfused(Callback):
    """Run every optimizer as separate operations instead of one fused kernel."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["fused"] = False


class EMA(WeightAveraging):
    """Validate and keep the exponential moving average of the weights, w̄ ← decay·w̄ + (1−decay)·w.

    For GANs: Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training".
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning skips on_train_end where a resumed training finds nothing left to do
        self.on_train_end(trainer, pl_module)


class Bar(Callback):
    """A progress bar over all steps, moved once per logging window."""

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
