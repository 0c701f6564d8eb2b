"""What a model uses the labels of the data for: in training, sampling, measuring and tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latentlab.contracts import (
    ClassConditionalModel,
    ClassSampler,
    CodeRecognition,
    PartlyLabelled,
)

if TYPE_CHECKING:
    from latentlab.inference.trained import TrainedModel


def labels_in_training(model: Any, num_train: int) -> int:
    """Number of training images whose labels the model was given."""
    if isinstance(model, PartlyLabelled):
        return min(model.num_labelled, num_train)
    return num_train if isinstance(model, ClassConditionalModel) else 0


def uses_of_labels(trained: TrainedModel) -> list[str]:
    """What a model uses labels for, one phrase each. Empty for none, and for data without labels.

    The model's type and its settings tell all but the tuning of its settings, which the list
    `tuned_on_labels` of its config tells. What uses labels for every model alike is not listed:
    the classifier whose features FID compares, and the linear probe.
    """
    if not trained.classes:
        return []
    model, resolved, found = trained.module, trained.metadata["resolved"], []
    if isinstance(model, PartlyLabelled):
        found.append(f"training: {model.num_labelled:,} images with labels, all others without")
    elif isinstance(model, ClassConditionalModel):
        found.append("training: the labels of all training images")
    if isinstance(trained.sampler, ClassSampler):
        found.append("sampling: the frequency of each class in the training images")
    if trained.is_conditional:
        found.append("metrics of samples: the classes of the test images")
    if isinstance(model, CodeRecognition) and model.num_categories:
        found.append("its category error: categories are matched with classes on training images")
    if resolved.get("trainer", {}).get("checkpoint") == "best":
        found.append("the choice of the checkpoint: FID with features of the classifier")
    return [*found, *(f"tuning: {each}" for each in resolved.get("tuned_on_labels", ()))]
