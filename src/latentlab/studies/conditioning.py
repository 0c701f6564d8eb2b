"""Conditioning: does one get the class that one asked for, and are the images worth learning from?

    CAS = accuracy on real test images of a classifier that was trained on the model's samples

Ravuri & Vinyals 2019, "Classification accuracy score for conditional generative models": a model
that drew one perfect image of each class would please every judge, and teach a classifier little.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import to_float
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.features import extract
from latentlab.metrics.taught import taught_accuracy
from latentlab.plots import save_rows
from latentlab.trained import Trained

MOST = 10_000  # images that are drawn, and that a classifier learns from
ROWS, COLUMNS = 8, 20  # of the picture, at most


@runtime_checkable
class Conditioned(Protocol):
    """A model whose codes name a class: `condition` puts classes y (B,) into codes z (B, D)."""

    num_classes: int

    def condition(self, z: Tensor, y: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, Conditioned)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Ask for every class equally often; judge the images, and learn from them."""
    assert yard.judge is not None, "without labels there is no conditional model"
    assert yard.test.labels is not None
    seed = yard.settings.seed
    count = min(len(yard.train), MOST)
    x, y = ask(trained, count, seed)
    right = extract(yard.judge, x).argmax(1) == y
    classes = yard.meta.classes or ()
    per_class = {name: float(right[y == k].double().mean()) for k, name in enumerate(classes)}
    numbers = {
        "requested_accuracy": float(right.double().mean()),
        "classification_accuracy_score": taught_accuracy(x, y, yard.test, seed=seed),
        "real_images_instead": taught_accuracy(*_real(yard, count, seed), yard.test, seed=seed),
    }
    worst = min(per_class, key=per_class.__getitem__)
    return Finding(
        title="Asking for a class",
        text=f"{count:,} images, as many of each class. The judge sees the class asked for in "
        f"{numbers['requested_accuracy']:.1%} of them (least: {worst}, {per_class[worst]:.1%}). A "
        f"small classifier that learns from them alone reads "
        f"{numbers['classification_accuracy_score']:.1%} of the real test images; from as many "
        f"real images, {numbers['real_images_instead']:.1%}. In a row of the picture the noise "
        "stays: what remains from class to class, such as slant and width, is style.",
        numbers=numbers,
        table={name: {"requested_accuracy": value} for name, value in per_class.items()},
        pictures=[
            Picture(
                "classes",
                "A row has one noise, a column one class",
                partial(save_rows, same_noise(trained, seed)),
            )
        ],
        flags=[f"does not draw {worst} when asked to"] if per_class[worst] < 0.5 else [],
    )


def ask(trained: Trained, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` images (N, C, H, W) and the classes (N,) that were asked for, in turn."""
    y = torch.arange(count) % trained.module.num_classes
    return trained.decode(trained.module.condition(trained.draw(count, seed=seed), y)), y


def same_noise(trained: Trained, seed: int) -> Tensor:
    """Images (R, K, C, H, W): one draw a row, every class once."""
    classes = min(trained.module.num_classes, COLUMNS)
    z = trained.draw(ROWS, seed=seed).repeat_interleave(classes, 0)
    y = torch.arange(classes).repeat(ROWS)
    return trained.decode(trained.module.condition(z, y)).unflatten(0, (ROWS, classes))


def _real(yard: Yardsticks, count: int, seed: int) -> tuple[Tensor, Tensor]:
    assert yard.train.labels is not None
    order = torch.randperm(len(yard.train), generator=torch.Generator().manual_seed(seed))
    rows = order[:count].sort().values
    return to_float(yard.train.images[rows]), yard.train.labels[rows]
