"""Latent arithmetic: directions of the latent space that change one attribute of an image.

    v = mean code of images with the attribute − mean code of images without it
    x' = decoder(z + a v)

White 2016, "Sampling generative networks", section 3; Larsen et al. 2016, "Autoencoding beyond
pixels using a learned similarity metric", section 4.2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import GaussianPosterior, Split
from latentlab.evaluation.evaluator import Evaluator, subset_size
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.grids import save_rows

NUM_TRAIN = 5000  # images for the mean codes
MAX_TEST = 500  # images whose codes are changed; at most a fifth of the test images
NUM_SHOWN = 6
AMOUNTS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def applies(model: Any) -> bool:
    return isinstance(model, GaussianPosterior)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Change the intensity of test images, and their class, by vectors of the latent space."""
    train, test = evaluator.train.first(NUM_TRAIN), evaluator.test
    test = test.first(subset_size(len(test), most=MAX_TEST, divisor=5))
    x_train, x = torch.cat(list(train.batches())), torch.cat(list(test.batches()))
    codes, z = trained.encode(x_train), trained.encode(x)
    parts = [change_intensity(trained, intensity_direction(x_train, codes), x, z)]
    if evaluator.classifier is not None and train.labels is not None and test.labels is not None:
        means, present = class_means(codes, train.labels)
        changed = exchange_class(z, test.labels, means, present)  # (K, N, D)
        parts.append(transfer_class(trained, evaluator, test, changed, present))
    return Result(
        title="Latent arithmetic",
        summary=" ".join(part.summary for part in parts if part.summary),
        metrics={name: value for part in parts for name, value in part.metrics.items()},
        figures=[figure for part in parts for figure in part.figures],
    )


def change_intensity(trained: TrainedModel, direction: Tensor, x: Tensor, z: Tensor) -> Result:
    """Decode z + a · direction for several a; `x` (N, C, H, W) are the images of codes z (N, D)."""
    decoded = [trained.decode(z + amount * direction) for amount in AMOUNTS]
    intensity = [float(images.mean()) for images in decoded]
    sheet = torch.stack([x[:NUM_SHOWN], *(images[:NUM_SHOWN] for images in decoded)], 1)
    return Result(
        title="Intensity",
        summary="Intensity direction: the mean code of the third of the training images with the "
        "highest mean intensity, minus that of the third with the lowest. Adding −2, −1, 0, 1, 2 "
        f"times this direction to the codes of {len(z)} test images gives a mean intensity of "
        f"{', '.join(f'{value:.3f}' for value in intensity)} (originals: {float(x.mean()):.3f}).",
        metrics={
            f"mean_intensity_at_{amount:g}": value
            for amount, value in zip(AMOUNTS, intensity, strict=True)
        },
        figures=[
            Figure(
                "intensity",
                "Image, then −2 … 2 times the intensity direction",
                partial(save_rows, sheet),
            )
        ],
    )


def transfer_class(
    trained: TrainedModel, evaluator: Evaluator, test: Split, changed: Tensor, present: Tensor
) -> Result:
    """Decode codes `changed` (K, N, D) of test images to the classes `present` (K,). Classify."""
    assert evaluator.classifier is not None
    assert test.labels is not None
    predicted = [evaluator.classifier(trained.decode(z)).argmax(1) for z in changed]
    other = test.labels != present[:, None]  # (K, N): the class is not the image's own
    correct = (torch.stack(predicted) == present[:, None])[other]
    x = next(test.first(NUM_SHOWN).batches())
    images = trained.decode(changed[:, :NUM_SHOWN].flatten(0, 1)).unflatten(0, (len(changed), -1))
    sheet = torch.cat([x[:, None], images.transpose(0, 1)], 1)
    figure = Figure("classes", "Image, then each class", partial(save_rows, sheet))
    if not len(correct):
        return Result(title="Class", summary="", figures=[figure])
    accuracy = float(correct.double().mean())
    return Result(
        title="Class",
        summary="Class transfer: the mean code of the image's own class is replaced by that of "
        f"another class. The classifier recognizes the new class in {accuracy:.1%} of "
        f"{len(correct):,} images.",
        metrics={"class_transfer_accuracy": accuracy},
        figures=[figure],
    )


def intensity_direction(x: Tensor, codes: Tensor) -> Tensor:
    """Mean code (D,) of the third of images with the highest mean, minus that of the lowest.

    `codes` (N, D) are the codes of the images x (N, C, H, W).
    """
    order = x.flatten(1).mean(1).argsort()
    third = max(1, len(order) // 3)
    return codes[order[-third:]].mean(0) - codes[order[:third]].mean(0)


def class_means(codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean codes (K, D) of the K classes that occur in `labels` (N,), and these classes (K,)."""
    present = labels.unique()
    return torch.stack([codes[labels == label].mean(0) for label in present]), present


def exchange_class(z: Tensor, labels: Tensor, means: Tensor, present: Tensor) -> Tensor:
    """z (N, D), its own class mean replaced by that of each class: (K, N, D)."""
    own = torch.searchsorted(present, labels).clamp_max(len(present) - 1)
    return z + means[:, None] - means[own]
