"""Anomaly scores: the rank of an image's reconstruction error among those of training images.

A squared error has no scale of its own. The fraction of training images with a smaller error says
how unusual it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from latentlab.config.seeds import stage_of
from latentlab.contracts import Split
from latentlab.data.prepared import read_meta, read_split
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.reconstruction import squared_error
from latentlab.utils.errors import LatentlabError

MAX_IMAGES = 2000  # training images that are compared
MAX_INVERTED_IMAGES = 100  # training images if the model has no encoder: inversion is slow


def reconstruction_errors(trained: TrainedModel, x: Tensor) -> Tensor:
    """Squared error (N,) ≥ 0 of the reconstructions of images x (N, C, H, W) in [0, 1]."""
    return squared_error(trained.reconstruct(x), x)


def empirical_cdf(values: Tensor, reference: Tensor) -> Tensor:
    """Fraction of `reference` (M,) below each of `values` (N,), float64 in [0, 1].

    An equal reference value counts half.
    """
    ordered = reference.sort().values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to).double() / 2 / len(ordered)


def training_errors(trained: TrainedModel, prepared: Path) -> Tensor:
    """Reconstruction errors (M,) of evenly spaced training images, M ≤ `MAX_IMAGES`.

    `prepared` is the project's data/prepared.

    Raises:
        LatentlabError: `prepared` contains other images than the model was trained on.
    """
    if read_meta(prepared).sha256 != trained.metadata.get("data_sha256"):
        raise LatentlabError(
            f"{prepared} contains other images than the training data of {trained.name}. Both must "
            f"be the same. Run `dvc repro {stage_of('train', trained.name)}`."
        )
    train = read_split(prepared, "train")
    count = min(len(train), MAX_IMAGES if trained.has_encoder else MAX_INVERTED_IMAGES)
    rows = torch.linspace(0, len(train) - 1, count, dtype=torch.float64).round().long()
    parts = Split(train.images[rows]).batches()
    return torch.cat([reconstruction_errors(trained, x) for x in parts])
