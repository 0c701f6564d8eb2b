"""Quality of features learned without labels, measured by a linear SVM.

A linear SVM (common/svm.py) is fitted to the standardized features of training images and
classifies test images. Baselines: raw pixels, and the same network with its initial weights. Random
features are already useful, so only the difference to them was learned.

Radford et al. 2016, "Unsupervised representation learning with deep convolutional generative
adversarial networks", section 5.1: 82.8 % on CIFAR-10 with the discriminator of DCGAN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlab.contracts import Task
from latentlab.evaluation.results import Result
from latentlab.metrics.fid.features import extract
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.requirements import (
    labels_of,
    require_classes,
    require_learned_without_labels,
)
from latentlab.tasks.common.svm import fit_linear_svm, standardize
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class LinearSVM(Task):
    """At most `max_images` training images, selected by the seed; `svm_c` is C · N of the SVM."""

    needs_labels = True

    max_images: int = 20_000
    svm_c: float = 100.0

    def __post_init__(self) -> None:
        if self.max_images < 2 or self.svm_c <= 0:
            raise LatentlabError(
                f"max_images is {self.max_images} and svm_c is {self.svm_c}: max_images must be"
                " ≥ 2, and svm_c > 0"
            )

    def run(self, context: Context) -> Result:
        require_classes(context)
        require_learned_without_labels(context)
        trained, untrained = context.trained, context.untrained_model().eval()
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "pixels": partial(torch.flatten, start_dim=1),
            f"{trained.name}, untrained": untrained.features,
            f"{trained.name}, trained": trained.features,
        }
        table = {name: self.score(context, function) for name, function in functions.items()}
        accuracies = [row["accuracy"] for row in table.values()]
        names = ("pixels_accuracy", "untrained_accuracy", "trained_accuracy")
        return Result(
            title=f"Features of {trained.name} with a linear SVM",
            summary=f"Accuracy of a linear SVM on {len(context.evaluator.test):,} test images,"
            f" fitted to at most {self.max_images:,} training images. Its input is the raw pixels,"
            " or the features of the network before and after training.",
            metrics=dict(zip(names, accuracies, strict=True)),
            table=table,
        )

    def score(self, context: Context, function: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Accuracy of an SVM on `function` of images, and the number of its inputs."""
        train = context.evaluator.train.some(self.max_images, seed=context.seed)
        test = context.evaluator.test
        z, z_test = standardize(extract(function, train), extract(function, test))
        num_classes = context.dataset.num_classes
        svm = fit_linear_svm(z, labels_of(train), num_classes, c=self.svm_c / len(z))
        correct = (svm(z_test).argmax(1) == labels_of(test)).double()
        return {"accuracy": float(correct.mean()), "num_features": float(z.shape[1])}
