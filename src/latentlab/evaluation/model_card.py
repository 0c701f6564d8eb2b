"""The model card: the description of a model on the comparison page.

The text is the docstring of the model's file (inference/description.py).
"""

from __future__ import annotations

import sys
from typing import Any

from latentlab.evaluation.evaluator import Evaluator
from latentlab.inference.description import describe
from latentlab.inference.labels import uses_of_labels
from latentlab.inference.trained import TrainedModel

__all__ = ["describe", "model_card"]


def model_card(trained: TrainedModel, evaluator: Evaluator) -> dict[str, Any]:
    """Return the model card as plain data. A config's title and summary replace the file's.

    The differences from the paper are those of the file and of the config. `uses_labels_for` is
    empty for a model that needs no label.
    """
    described = describe(sys.modules[type(trained.module).__module__].__doc__)
    resolved = trained.metadata["resolved"]
    return {
        "name": trained.name,
        "family": trained.module.family,
        "title": resolved.get("title", described.title or trained.name),
        "summary": resolved.get("summary", described.summary),
        "objective": described.objective,
        "papers": list(described.papers),
        "differs_from_the_paper": [
            *described.differences,
            *resolved.get("differs_from_the_paper", ()),
        ],
        "uses_labels_for": uses_of_labels(trained),
        "sampler": type(trained.sampler).__name__,
        "features": evaluator.feature_space,
        "reference": evaluator.stored.digest if evaluator.stored is not None else None,
        "images_seen": trained.metadata["images_seen"],
        "device": trained.metadata["device"],
        "config": resolved,
    }
