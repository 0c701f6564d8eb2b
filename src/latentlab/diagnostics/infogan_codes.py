"""InfoGAN codes: do the categories, learned without labels, correspond to the classes?

    error = 1 − max over one-to-one assignments a of P( a(ŷ(x)) = label(x) ),   ŷ(x) = argmax Q(y|x)

Chen et al. 2016, "InfoGAN", section 7.2, reports an error of 5 % on MNIST. Here the assignment is
chosen on training images, and the error is measured on the test images.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import CodeRecognition, Split
from latentlab.diagnostics.metrics.assignment import best_assignment, contingency_table
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.grids import save_rows

MAX_ASSIGNMENT_IMAGES = 10_000  # training images that decide the assignment
NUM_ROWS, STEPS = 8, 11  # of the figures
MAX_CODE = 2.0  # range of a continuous code in the figures, as in the paper; 1 in training


def applies(model: Any) -> bool:
    return isinstance(model, CodeRecognition)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Assign the categories to classes, and decode every category and continuous code."""
    model, seed = trained.module, evaluator.settings.seed
    order, metrics, table = assign_categories(trained, evaluator)
    error = (
        f"After the assignment to classes, {metrics['category_error']:.1%} of the test images have"
        " a wrong category. No label was used in training. "
        if metrics
        else ""
    )
    figures = [
        Figure(
            "categories",
            "One noise vector per row, one category per column",
            partial(save_rows, categories(trained, order, seed)),
        )
    ]
    for index in range(model.num_continuous):
        caption = f"Continuous code {index + 1} from −2 to 2, one category per row"
        images = traversal(trained, order, index, seed)
        figures.append(Figure(f"continuous_{index + 1}", caption, partial(save_rows, images)))
    return Result(
        title="InfoGAN codes",
        summary=error + f"The columns of the first figure are the {model.num_categories} "
        "categories. A category corresponds to a class if all images of its column show this "
        "class. In the other figures, one continuous code changes from −2 to 2 and the rest of "
        "the code is constant. In training this code was between −1 and 1.",
        metrics=metrics,
        table=table,
        figures=figures,
    )


def assign_categories(
    trained: TrainedModel, evaluator: Evaluator
) -> tuple[list[int], dict[str, float], dict[str, dict[str, float]]]:
    """Categories sorted by their class, the metrics, and a table with a row for each category.

    Without labels, the order is 0, 1, … and the rest is empty.
    """
    order = list(range(trained.module.num_categories))
    train, test = evaluator.train.first(MAX_ASSIGNMENT_IMAGES), evaluator.test
    if train.labels is None or test.labels is None:
        return order, {}, {}
    counts = contingency_table(predict_categories(trained, train), train.labels)
    assignment = best_assignment(counts)  # a category without a class is missing
    classes = torch.tensor([assignment.get(category, -1) for category in order])
    predicted = predict_categories(trained, test)
    error = float((classes[predicted] != test.labels).double().mean())
    # not order.sort, which empties the list while it calls the key
    order = sorted(order, key=lambda category: assignment.get(category, len(order)))
    names = evaluator.dataset.classes or ()
    table = {}
    for category in order:
        labels = test.labels[predicted == category]
        correct = (labels == classes[category]).double().mean() if len(labels) else 0.0
        name = names[assignment[category]] if category in assignment else "–"
        table[f"category {category}: {name}"] = {
            "images": float(len(labels)),
            "class_fraction": float(correct),
        }
    return order, {"category_error": error}, table


def predict_categories(trained: TrainedModel, split: Split) -> Tensor:
    """The most probable category of each image, int64 (N,)."""
    return torch.cat([trained.module.recognize(x)[0].argmax(1) for x in split.batches()])


def categories(trained: TrainedModel, order: list[int], seed: int) -> Tensor:
    """Images (R, K, C, H, W): one sampled code per row, with each category in the given order."""
    num_categories = trained.module.num_categories
    z = trained.sample_latents(NUM_ROWS, seed=seed).repeat_interleave(len(order), 0)  # (R·K, D)
    z[:, -num_categories:] = torch.eye(num_categories)[order].repeat(NUM_ROWS, 1)
    return trained.decode(z).unflatten(0, (NUM_ROWS, len(order)))


def traversal(trained: TrainedModel, order: list[int], index: int, seed: int) -> Tensor:
    """Images (K, STEPS, C, H, W): one category per row, continuous code `index` from −2 to 2."""
    model = trained.module
    start = -model.num_categories - model.num_continuous
    z = trained.sample_latents(1, seed=seed).repeat(len(order) * STEPS, 1)
    z[:, start : -model.num_categories] = 0
    z[:, start + index] = torch.linspace(-MAX_CODE, MAX_CODE, STEPS).repeat(len(order))
    z[:, -model.num_categories :] = torch.eye(model.num_categories)[order].repeat_interleave(
        STEPS, 0
    )
    return trained.decode(z).unflatten(0, (len(order), STEPS))
