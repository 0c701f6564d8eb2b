"""Batch normalization of a discriminator outside of training: as in training, by the batch.

In training, a batch of a discriminator is all real or all generated, and is normalized by its own
mean and variance. The running statistics are those of both mixed. With them, the logits of a
trained discriminator say little about its game: it seems to separate less than it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

STATISTICS = ("running_mean", "running_var")


@contextmanager
def batch_statistics(network: nn.Module, batch_size: int) -> Iterator[None]:
    """Normalize by the statistics of the batch in this block, and change no running statistics.

    Layers in training mode do so already and stay as they are. `batch_size`: number of inputs of
    the network; one alone has no variance, so it is normalized by the running statistics.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and not layer.training and batch_size > 1
    ]
    before = [[getattr(layer, name) for name in STATISTICS] for layer in layers]
    try:
        for layer in layers:  # without running statistics, a layer uses those of the batch
            layer.running_mean = layer.running_var = None
        yield
    finally:
        for layer, (mean, variance) in zip(layers, before, strict=True):
            layer.running_mean, layer.running_var = mean, variance
