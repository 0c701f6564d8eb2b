"""Checks of a task's settings and of what it gets. All raise LatentlabError."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from latentlab.contracts import Split
from latentlab.tasks.common.context import Context
from latentlab.utils.errors import LatentlabError


def require_at_least(minimum: int, settings: Any, *names: str) -> None:
    """Check that the fields `names` of a task are `minimum` or more."""
    for name in names:
        if getattr(settings, name) < minimum:
            raise LatentlabError(f"{name} is {getattr(settings, name)}: it must be ≥ {minimum}")


def require_classes(context: Context) -> None:
    """Check that the images have labels of two or more classes."""
    if context.dataset.num_classes < 2 or context.evaluator.train.labels is None:
        raise LatentlabError(
            "the images have no labels: this task needs labels of two or more classes. Remove the"
            " task from params.yaml, or select other data"
        )


def require_encoder(context: Context) -> None:
    """Check that the trained model has an encoder."""
    if not context.trained.has_encoder:
        raise LatentlabError(
            f"{context.trained.name} has no encoder: this task needs codes of images. Set the"
            " task's `model` in params.yaml to an autoencoder"
        )


def labels_of(split: Split) -> Tensor:
    """The labels (N,) of a split that must have labels."""
    if split.labels is None:
        raise LatentlabError("the images have no labels: select data with labels")
    return split.labels
