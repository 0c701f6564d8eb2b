"""How strange an image is to a trained model: its reconstruction error among those of the training.

A squared error says little by itself; the share of training images that are redrawn better says
how unusual it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Split
from latentlab.data.prepared import read_meta, read_split
from latentlab.trained import Trained

MOST = 2000  # training images that are compared with
MOST_SEARCHED = 100  # the same, where each code is searched for


def errors(trained: Trained, x: Tensor) -> Tensor:
    """Σ_pixels (x̂ − x)² of images x (N, C, H, W) in [0, 1], (N,)."""
    return (trained.reconstruct(x) - x).square().flatten(1).sum(1)


def quantiles(values: Tensor, reference: Tensor) -> Tensor:
    """Share of `reference` (M,) below each of `values` (N,), in [0, 1]; ties count half."""
    ordered = reference.sort().values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return (below + upto).double() / 2 / len(ordered)


def training_errors(trained: Trained, prepared: Path) -> Tensor:
    """Errors of some of the images that the model was trained on, evenly spread, (M,).

    `prepared` is the project's data/prepared. Raises LatentlabError where other images are there.
    """
    if read_meta(prepared).sha256 != trained.card.get("data_sha256"):
        raise LatentlabError(
            f"{prepared} holds other images than {trained.name} was trained on, so there is nothing"
            f" to compare with: `dvc repro train@{trained.name}`"
        )
    train = read_split(prepared, "train")
    count = min(len(train), MOST if trained.has_encoder else MOST_SEARCHED)
    rows = torch.linspace(0, len(train) - 1, count, dtype=torch.float64).round().long()
    parts = Split(train.images[rows]).batches()
    return torch.cat([errors(trained, x) for x in parts])
