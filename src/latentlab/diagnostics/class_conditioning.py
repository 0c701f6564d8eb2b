"""Class conditioning: does the model generate the requested class, and how useful are the samples?

    conditional accuracy = fraction of samples that the classifier assigns to the requested class
    CAS                  = accuracy on real test images of a classifier trained on samples only

Ravuri & Vinyals 2019, "Classification accuracy score for conditional generative models": one
perfect image for each class gives a conditional accuracy of 100 %, but a low CAS. The figure
decodes one noise vector with every class: Kingma et al. 2014, "Semi-supervised learning with deep
generative models", figure 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import ClassConditionalModel, to_float
from latentlab.diagnostics.metrics.classification_accuracy_score import (
    classification_accuracy_score,
)
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.fid.features import extract
from latentlab.visualization.grids import save_rows

MAX_SAMPLES = 10_000
NUM_ROWS, MAX_COLUMNS = 8, 20  # of the figure
MIN_ACCURACY = 0.5  # of each class
FIGURE_SUMMARY = (
    "Each row of the figure has one noise vector. What is equal in all columns, such as slant and "
    "stroke width, is coded by the noise and not by the class."
)


def applies(model: Any) -> bool:
    return isinstance(model, ClassConditionalModel)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Sample every class equally often. Classify the samples, and train a classifier on them.

    Without a classifier there is only the figure.
    """
    images = one_noise_per_row(trained, evaluator.settings.seed)
    caption = "One noise vector per row, one class per column"
    figures = [Figure("classes", caption, partial(save_rows, images))]
    if evaluator.classifier is None:
        return Result(title="Class conditioning", summary=FIGURE_SUMMARY, figures=figures)
    metrics, accuracy = score_classes(trained, evaluator)
    worst = min(accuracy, key=accuracy.__getitem__)
    wrong = f"wrong class: {accuracy[worst]:.0%} accuracy for {worst}"
    return Result(
        title="Class conditioning",
        summary=f"{_summary(metrics, num_samples(evaluator), worst, accuracy[worst])} "
        f"{FIGURE_SUMMARY}",
        metrics=metrics,
        table={name: {"conditional_accuracy": value} for name, value in accuracy.items()},
        figures=figures,
        warnings=[wrong] if accuracy[worst] < MIN_ACCURACY else [],
    )


def score_classes(
    trained: TrainedModel, evaluator: Evaluator
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics, and the conditional accuracy of each class by its name."""
    assert evaluator.classifier is not None
    seed = evaluator.settings.seed
    x, y = sample_classes(trained, num_samples(evaluator), seed)
    correct = extract(evaluator.classifier, x).argmax(1) == y
    names = evaluator.dataset.classes or ()
    score = partial(classification_accuracy_score, test=evaluator.test, seed=seed)
    metrics = {
        "conditional_accuracy": float(correct.double().mean()),
        "classification_accuracy_score": score(x, y),
        "real_data_accuracy": score(*real_images(evaluator, len(x), seed)),
    }
    return metrics, {k: float(correct[y == i].double().mean()) for i, k in enumerate(names)}


def num_samples(evaluator: Evaluator) -> int:
    """As many samples as there are training images, at most MAX_SAMPLES."""
    return min(len(evaluator.train), MAX_SAMPLES)


def _summary(metrics: Mapping[str, float], count: int, worst: str, lowest: float) -> str:
    return (
        f"The classifier recognizes the requested class in {metrics['conditional_accuracy']:.1%} "
        f"of {count:,} samples, equally many of each class (lowest: {worst}, {lowest:.1%}). A "
        f"small classifier trained on these samples has an accuracy of "
        f"{metrics['classification_accuracy_score']:.1%} on real test images. Trained on equally "
        f"many real images, it has {metrics['real_data_accuracy']:.1%}."
    )


def sample_classes(trained: TrainedModel, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and their requested classes (N,): 0, 1, …, K − 1, 0, 1, …"""
    y = torch.arange(count) % trained.module.num_classes
    z = trained.module.condition(trained.sample_latents(count, seed=seed), y)
    return trained.decode(z), y


def one_noise_per_row(trained: TrainedModel, seed: int) -> Tensor:
    """Images (R, K, C, H, W): one noise vector per row, one class per column."""
    classes = min(trained.module.num_classes, MAX_COLUMNS)
    z = trained.sample_latents(NUM_ROWS, seed=seed).repeat_interleave(classes, 0)
    y = torch.arange(classes).repeat(NUM_ROWS)
    return trained.decode(trained.module.condition(z, y)).unflatten(0, (NUM_ROWS, classes))


def real_images(evaluator: Evaluator, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` random training images (N, C, H, W) and their labels (N,)."""
    assert evaluator.train.labels is not None
    order = torch.randperm(len(evaluator.train), generator=torch.Generator().manual_seed(seed))
    rows = order[:count].sort().values
    return to_float(evaluator.train.images[rows]), evaluator.train.labels[rows]
