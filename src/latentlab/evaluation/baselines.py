"""Baselines of all models: real images, PCA, noise, and raw pixels. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.reference import Reference
from latentlab.evaluation.scores import Scores
from latentlab.metrics.fid.features import extract
from latentlab.metrics.novelty import novelty

PCA_COMPONENTS = 32


def score_baselines(
    evaluator: Evaluator, reference: Reference, val: Split
) -> dict[str, dict[str, Any]]:
    """Return the metrics of each baseline. Samples are drawn as often as those of a model.

    `real`: training images measured as if they were samples, the best values to expect, and the
    accuracy of the classifier on test images. `pca_gaussian`: PCA with a Gaussian as sampler.
    `noise`: uniform noise. `pixels`: the linear probe on raw pixels. `val`: validation images,
    whose novelty is that of real images that are no copies.
    """
    seed, draws = evaluator.settings.seed, evaluator.settings.num_draws
    generator = torch.Generator().manual_seed(seed)
    shape = (evaluator.num_samples, *evaluator.dataset.image_shape)
    noise = [torch.rand(shape, generator=generator) for _ in range(draws)]
    real = [evaluator.train.some(evaluator.num_samples, seed=seed + n) for n in range(draws)]
    components = min(PCA_COMPONENTS, reference.pca.components.shape[1])
    pca = evaluator.score_pca(reference, components, num_draws=draws)
    rows = {
        "real": _samples(evaluator, reference, real) | _classifier_accuracy(evaluator),
        "pca_gaussian": pca,
        "noise": _samples(evaluator, reference, noise),
        "pixels": evaluator.score_features(lambda x: x.flatten(1)),
    }
    content = {name: scores.content() for name, scores in rows.items()}
    for name, images in (("real", val), ("noise", noise[0])):
        fake = extract(evaluator.feature_extractor, images)
        content[name]["novelty"] = novelty(reference.train, reference.real, fake, seed=seed)
    return content


def _samples(evaluator: Evaluator, reference: Reference, draws: Sequence[Tensor | Split]) -> Scores:
    return evaluator.score_samples(draws, reference.real, reference.class_real)


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
        "num_draws": evaluator.settings.num_draws,
        "num_real_samples": min(count, len(evaluator.train)),
        "split_seed": dataset.seed,
        "data_sha256": dataset.sha256,
        "unreadable": list(dataset.unreadable),
    }


def _classifier_accuracy(evaluator: Evaluator) -> Scores:
    """Accuracy of the classifier on test images: an upper bound for reconstructions."""
    if evaluator.classifier is None:
        return Scores()
    scores = evaluator.score_reconstructions(evaluator.test, lambda x: x)
    key = "classifier_accuracy"
    return Scores({key: scores.metrics[key]}, {key: scores.ci95[key]})
