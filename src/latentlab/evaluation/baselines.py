"""Baselines of all models: real images, PCA, noise, and raw pixels. Nothing is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation.evaluator import Evaluator
from latentlab.metrics.pca import PCA

PCA_COMPONENTS = 32


def score_baselines(evaluator: Evaluator, *, real: Tensor, pca: PCA) -> dict[str, Any]:
    """Return the metrics of each baseline.

    `real`: training images measured as if they were samples, the best values to expect, and the
    accuracy of the classifier on test images. `pca_gaussian`: PCA with a Gaussian as sampler.
    `noise`: uniform noise. `pixels`: the linear probe on raw pixels.
    """
    generator = torch.Generator().manual_seed(evaluator.settings.seed)
    count = evaluator.num_samples
    noise = torch.rand((count, *evaluator.dataset.image_shape), generator=generator)
    rows = torch.randperm(len(evaluator.train), generator=generator)[:count].sort().values
    images = Split(evaluator.train.images[rows])
    components = min(PCA_COMPONENTS, pca.components.shape[1])
    return {
        "real": {**evaluator.score_samples(images, real), **_classifier_accuracy(evaluator)},
        "pca_gaussian": evaluator.score_pca(pca, components, real),
        "noise": evaluator.score_samples(noise, real),
        "pixels": evaluator.score_features(lambda x: x.flatten(1)),
    }


def dataset_card(evaluator: Evaluator) -> dict[str, Any]:
    """Return the dataset card of the comparison page, as plain data."""
    dataset, count = evaluator.dataset, evaluator.num_samples
    return {
        "data": dataset.name,
        "counts": dataset.counts,
        "classes": dataset.classes,
        "image_shape": list(dataset.image_shape),
        "features": evaluator.feature_space,
        "num_samples": count,
        "num_real_samples": min(count, len(evaluator.train)),
        "split_seed": dataset.seed,
        "data_sha256": dataset.sha256,
        "unreadable": list(dataset.unreadable),
    }


def _classifier_accuracy(evaluator: Evaluator) -> dict[str, float]:
    """Accuracy of the classifier on test images: an upper bound for reconstructions."""
    if evaluator.classifier is None:
        return {}
    scores = evaluator.score_reconstructions(evaluator.test, lambda x: x)
    return {"classifier_accuracy": scores["classifier_accuracy"]}
