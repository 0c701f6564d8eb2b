"""Features by a linear SVM: what a discriminator, or an encoder, came to know without labels.

The features of training images, standardised, go to a linear machine with squared hinge loss; test
images are put into classes by it. Beside it stand raw pixels, and the same network as it was drawn:
a random one is no bad start, and only what exceeds it was learned.

Radford et al. 2016, "Unsupervised representation learning with deep convolutional GANs", section
5.1, where DCGAN's discriminator so reaches 82.8 % on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Task
from latentlab.findings import Finding
from latentlab.metrics.features import extract
from latentlab.tasks import Context
from latentlab.tasks.fitting import linear_svm, standardised


@dataclass(frozen=True)
class FeatureSVM(Task):
    """`images` training images at most, drawn by the seed; `svm_c` is C · N of the machine."""

    images: int = 20_000
    svm_c: float = 100.0

    def __post_init__(self) -> None:
        if self.images < 2 or self.svm_c <= 0:
            raise LatentlabError(
                f"images is {self.images} and svm_c {self.svm_c}: at least 2 images and a"
                " positive weight are allowed"
            )

    def run(self, context: Context) -> Finding:
        if context.meta.num_classes < 2:
            raise LatentlabError("the data have no classes: leave this task out of params.yaml")
        trained, drawn = context.trained, context.fresh().eval()
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "pixels": partial(torch.flatten, start_dim=1),
            f"{trained.name}, as it was drawn": drawn.features,
            f"{trained.name}, trained": trained.features,
        }
        table = {name: self.score(context, function) for name, function in functions.items()}
        shares = [row["accuracy"] for row in table.values()]
        names = ("pixels_accuracy", "untrained_accuracy", "trained_accuracy")
        return Finding(
            title=f"What {trained.name} knows, by a linear SVM",
            text=f"Share of {len(context.yard.test):,} test images that a linear SVM puts into the "
            f"right class, from at most {self.images:,} training images: from raw pixels, from the"
            " features of the network before its training, and after it.",
            numbers=dict(zip(names, shares, strict=True)),
            table=table,
        )

    def score(self, context: Context, function: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Accuracy of the machine that reads `function` of images; how many numbers it reads."""
        train = context.yard.train.some(self.images, seed=context.seed)
        test = context.yard.test
        assert train.labels is not None
        assert test.labels is not None
        z, z_test = standardised(extract(function, train), extract(function, test))
        classes = context.meta.num_classes
        machine = linear_svm(z, train.labels, classes, c=self.svm_c / len(z))
        right = (machine(z_test).argmax(1) == test.labels).double()
        return {"accuracy": float(right.mean()), "numbers": float(z.shape[1])}
