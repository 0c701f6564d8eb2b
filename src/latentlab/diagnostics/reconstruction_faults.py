"""Reconstruction faults: outputs that never change, and an autoencoder that PCA beats.

A logistic output that is saturated has almost no gradient under the squared error: a large step of
the optimizer can leave it at 0 or 1 for all images, for ever. PCA with as many components as the
code has values is the best linear autoencoder (Baldi & Hornik 1989). A nonlinear one that it beats
was trained too briefly, at a wrong rate, or on too few images; the error on training images tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Encoder, Split
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.pca import PCA, PCACoder

NUM_TRAINING = 10_000  # training images that are reconstructed; without a stored PCA, they fit it
LEVEL = 1 / 255  # one grey level: an output that varies less is constant
MARGIN = 1.05  # PCA is better if its error times this is less: 5 % can be rounding and clipping
MIN_STD = 0.1  # of a value over the images, above which a constant output is a fault

Pairs = Iterable[tuple[Tensor, Tensor]]  # batches (x, x_hat)


def applies(model: Any) -> bool:
    return isinstance(model, Encoder)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Reconstruct test and training images, and compare with PCA of the same size."""
    train = evaluator.train.first(NUM_TRAINING)
    pca = evaluator.stored.pca if evaluator.stored is not None else PCA.fit(train)
    size = min(trained.module.latent_dim, pca.components.shape[1])
    coder = PCACoder(pca, size, evaluator.dataset.image_shape)
    dead, table = 0, {}
    for name, split in {"training images": train, "test images": evaluator.test}.items():
        dead, sse = measure(_pairs(split, trained.reconstruct))
        _, pca_sse = measure(_pairs(split, lambda x: coder.decode(coder.encode(x))))
        table[name] = {"SSE": sse, f"SSE of PCA-{size}": pca_sse}
    values = len(pca.mean)
    return Result(
        title="Reconstruction faults",
        summary=_summary(dead, values, size),
        metrics={"dead_outputs": dead, "train_sse": table["training images"]["SSE"]},
        table=table,
        warnings=list(_warnings(dead, values, table["test images"], size)),
    )


def measure(pairs: Pairs) -> tuple[int, float]:
    """Return the number of dead outputs, and the squared error, summed over an image, its mean.

    An output is dead if it is constant at 0 or 1 in all x_hat, but varies in x. Images are
    (B, C, H, W) in [0, 1]. They are read batch by batch, so they may be larger than memory.
    """
    low, high = torch.tensor(1.0), torch.tensor(0.0)  # then (C, H, W)
    count, sse = 0, 0.0
    total, squares = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x, x_hat in pairs:
        low, high = torch.minimum(low, x_hat.amin(0)), torch.maximum(high, x_hat.amax(0))
        count, sse = count + len(x), sse + float(squared_error(x_hat, x).sum())
        total, squares = total + x.double().sum(0), squares + x.double().square().sum(0)
    std = (squares / count - (total / count).square()).clamp_min(0).sqrt()
    saturated = (high <= LEVEL) | (low >= 1 - LEVEL)
    return int((saturated & (std >= MIN_STD)).sum()), sse / count


def _pairs(split: Split, reconstruct: Callable[[Tensor], Tensor]) -> Pairs:
    return ((x, reconstruct(x)) for x in split.batches())


def _summary(dead: int, values: int, size: int) -> str:
    return (
        f"{dead} of the {values:,} values of an image are 0 or 1 in every reconstruction, but vary "
        f"in the test images (standard deviation at least {MIN_STD}). PCA-{size} has as many "
        "components as the code has values. A model with a larger error on training images is not "
        "trained well; one with a larger error on test images only has learned its training images "
        "by heart."
    )


def _warnings(dead: int, values: int, errors: dict[str, float], size: int) -> Iterator[str]:
    """`errors`: of the model and of PCA. PCA with all components has none, which says nothing."""
    if dead:
        yield f"dead outputs: {dead} of {values:,} values are 0 or 1 in every reconstruction"
    model_sse, pca_sse = errors.values()
    if size < values and model_sse > MARGIN * pca_sse:
        yield f"PCA is better: SSE {model_sse:.3g}, PCA-{size} {pca_sse:.3g}"
