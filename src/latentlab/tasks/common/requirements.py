"""Checks of a task's settings and of what it gets. All raise LatentlabError."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from latentlab.config.selection import CLASSIFIER
from latentlab.contracts import (
    ClassConditionalModel,
    DiscreteCodes,
    PartlyLabelled,
    Split,
)
from latentlab.tasks.common.context import Context
from latentlab.utils.errors import LatentlabError

LABELLED = (ClassConditionalModel, PartlyLabelled)  # models that were given labels


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


def require_learned_without_labels(context: Context) -> None:
    """Check that the trained model was given no labels."""
    trained = context.trained
    if trained.name == CLASSIFIER or isinstance(trained.module, LABELLED):
        raise LatentlabError(
            f"{trained.name} was trained with labels, but this task measures what was"
            " learned without them: set the task's `model` in params.yaml to another model"
        )


def require_differentiable_features(context: Context) -> None:
    """Check that labels can train all weights through the features of the model."""
    if isinstance(context.trained.module, DiscreteCodes):
        raise LatentlabError(
            f"the features of {context.trained.name} are vectors of a codebook: no gradient reaches"
            " its encoder, so its weights cannot be trained on labels. Set the task's `model` in"
            " params.yaml to a model with continuous codes"
        )


def labels_of(split: Split) -> Tensor:
    """The labels (N,) of a split that must have labels."""
    if split.labels is None:
        raise LatentlabError("the images have no labels: select data with labels")
    return split.labels
