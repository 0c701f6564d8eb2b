"""Give the mean training image to the layers that subtract it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from latentlab.contracts import Split

MAX_IMAGES = 10_000  # drawn from the training images, so large data are not read twice


@runtime_checkable
class CentersImages(Protocol):
    """A layer that subtracts the mean training image (C, H, W)."""

    def center_on(self, mean: Tensor) -> None: ...


def center_inputs(model: nn.Module, train: Split) -> None:
    """Call `center_on` of each layer that has it. Call this before training."""
    layers = [layer for layer in model.modules() if isinstance(layer, CentersImages)]
    if not layers:
        return
    images = train.some(MAX_IMAGES, seed=0)
    total = torch.stack([batch.double().sum(0) for batch in images.batches()]).sum(0)  # (C, H, W)
    for layer in layers:
        layer.center_on((total / len(images)).float())
