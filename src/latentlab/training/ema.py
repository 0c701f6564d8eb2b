"""The average of the weights over the steps of a training: `trainer.ema_decay`.

    w_avg ← d_n · w_avg + (1 − d_n) · w,      d_n = min(decay, (1 + n) / (10 + n)),  n = 0, 1, 2, …

n counts the updates, one after each batch. The growing d_n is the warm-up of TensorFlow's
`ExponentialMovingAverage`: with a constant decay d, a training of N steps would keep the share d^N
of the weights of the start, 97 % for d = 0.999 and N = 30.

Only parameters are averaged. Buffers belong to the training: they are used as they are, with two
exceptions that describe the weights and are therefore computed again for the averaged weights.
Running means and variances of batch normalization are estimated on training batches. The vectors of
spectral normalization take further steps of their power iteration.

For GANs: Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training",
arXiv:1806.04498.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.optim.swa_utils import get_ema_multi_avg_fn

from latentlab.contracts import to_float
from latentlab.data.batch_sampler import epoch_batches
from latentlab.data.datamodule import ImageDataModule

NUM_BATCHES = 32  # of training images, for the statistics of batch normalization
POWER_ITERATIONS = 50


class EMA(Callback):
    """Average the weights after each batch. Validate the average, and keep it at the end.

    In a validation the model has the averaged weights. Afterwards it has those of the optimizer
    again, with their buffers, so validations do not change the training. The state of the callback
    is part of the checkpoints.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.num_updates = decay, 0
        self.average: dict[str, Tensor] = {}  # by the names of the parameters
        self.replaced: dict[str, Tensor] = {}  # parameters and buffers during a validation
        self.finished = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        start = self.average  # of a checkpoint, or empty
        self.average = {
            name: start[name].to(weight) if start else weight.detach().clone()
            for name, weight in pl_module.named_parameters()
        }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # after each batch, whichever optimizers have stepped: a GAN has two
        update = get_ema_multi_avg_fn(warm_decay(self.decay, self.num_updates))
        update(list(self.average.values()), list(pl_module.parameters()), 0)
        self.num_updates += 1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tensors = dict(pl_module.named_parameters()) | _estimated_buffers(pl_module)
        self.replaced = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.use_average(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tensors = dict(pl_module.named_parameters()) | _estimated_buffers(pl_module)
        _copy(self.replaced, tensors)
        self.replaced = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.use_average(trainer, pl_module)
        self.finished = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning does not call on_train_end if a resumed training has no step left
        if not self.finished:
            self.on_train_end(trainer, pl_module)

    def use_average(self, trainer: Trainer, module: LightningModule) -> None:
        """Replace the weights of `module` by the average, and what describes them."""
        _copy(self.average, dict(module.named_parameters()))
        renew_spectral_norm(module)
        estimate_batch_norm(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_updates, self.average = state_dict["num_updates"], dict(state_dict["average"])


def warm_decay(decay: float, num_updates: int) -> float:
    """The decay of update number `num_updates`, counted from 0: 0.1, 2/11, 3/12, … `decay`."""
    return min(decay, (1 + num_updates) / (10 + num_updates))


def renew_spectral_norm(module: nn.Module) -> None:
    """Continue the power iterations of all spectral norms, so that the largest singular value is 1.

    Each call of a parametrization in training mode is one power iteration.
    """
    for parametrizations in module.modules():
        if isinstance(parametrizations, ParametrizationList):
            with _modes(parametrizations, training=[parametrizations, *parametrizations]):
                for _ in range(POWER_ITERATIONS):
                    parametrizations()


def estimate_batch_norm(trainer: Trainer, module: LightningModule) -> None:
    """Set running means and variances to their means over batches, with the present weights.

    The batches are those of `validation_step` on training images, so each network gets what it gets
    in a validation: a generator codes from the prior, a discriminator real and generated images.
    All other layers are in evaluation mode. Each process computes the same. No random state
    changes.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    norms = [layer for layer in norms if layer.track_running_stats]
    if not norms:
        return
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), _cumulative(norms):
        torch.manual_seed(0)
        with _modes(module, training=norms), trainer.precision_plugin.val_step_context():
            for index, batch in enumerate(_training_batches(trainer, module)):
                module.validation_step(batch, index)


def _training_batches(trainer: Trainer, module: LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y) of the size of one process; the epochs are shuffled as in a training."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageDataModule)
    split, size = data.split("train"), data.batch_size // trainer.world_size
    epochs = (epoch_batches(len(split), size, seed=0, epoch=epoch) for epoch in itertools.count())
    for rows in itertools.islice(itertools.chain.from_iterable(epochs), NUM_BATCHES):
        x = to_float(split.images[rows].to(module.device))
        y = torch.full((len(rows),), -1) if split.labels is None else split.labels[rows]
        yield trainer.precision_plugin.convert_input(x), y.to(module.device)


@contextmanager
def _cumulative(norms: list[_BatchNorm]) -> Iterator[None]:
    """Reset the statistics; until the end of the block they are means over all batches."""
    before = [(layer.momentum, _count(layer).clone()) for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum = momentum
            _count(layer).copy_(count)


def _count(layer: _BatchNorm) -> Tensor:
    """The number of batches that the running statistics of a layer have had."""
    assert layer.num_batches_tracked is not None
    return layer.num_batches_tracked


@contextmanager
def _modes(module: nn.Module, *, training: list[Any]) -> Iterator[None]:
    """Training mode for the modules `training`, evaluation mode for the rest of `module`."""
    before = {each: each.training for each in module.modules()}
    try:
        for each in before:
            each.training = False
        for each in training:
            each.training = True
        yield
    finally:
        for each, mode in before.items():
            each.training = mode


def _estimated_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that `use_average` changes, by name."""
    return {
        name: buffer
        for prefix, layer in module.named_modules()
        if isinstance(layer, _BatchNorm | ParametrizationList)
        for name, buffer in layer.named_buffers(prefix=prefix)
    }


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
