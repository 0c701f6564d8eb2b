"""Attribute arithmetic: is there a direction in code space that means "bold", or "a seven"?

    v = mean code of images that have it − mean code of images that have not      x' = g(z + a v)

White 2016, "Sampling generative networks", section 3; Larsen et al. 2016, "Autoencoding beyond
pixels using a learned similarity metric", section 4.2.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.plots import save_rows
from latentlab.trained import Trained

IMAGES = 5000  # training images that make the directions
MOVED = 500  # test images that are moved
SHOWN = 6
AMOUNTS = (-2.0, -1.0, 0.0, 1.0, 2.0)


@runtime_checkable
class GaussianPosterior(Protocol):
    """Images (B, C, H, W) → (mu, logvar), (B, D) each, under the prior N(0, I)."""

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


def applies(model: Any) -> bool:
    return isinstance(model, GaussianPosterior)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Move test images along "bold − thin", and from their class's mean code to another's."""
    train, test = yard.train.first(IMAGES), yard.test.first(MOVED)
    x, x_test = torch.cat(list(train.batches())), torch.cat(list(test.batches()))
    codes, z = trained.encode(x), trained.encode(x_test)
    bold = bold_minus_thin(x, codes)
    made = [trained.decode(z + amount * bold) for amount in AMOUNTS]
    ink = dict(zip(AMOUNTS, (float(images.mean()) for images in made), strict=True))
    numbers = {f"ink_at_{amount:g}": value for amount, value in ink.items()}
    shown = torch.stack([x_test[:SHOWN], *(images[:SHOWN] for images in made)], 1)
    text = (
        "Bold − thin: the mean code of the third of the images with most ink, less that of the "
        f"third with least. Mean brightness of {len(z)} test images as they are moved by −2 … 2 "
        f"times that: {', '.join(f'{value:.3f}' for value in ink.values())} (originals: "
        f"{float(x_test.mean()):.3f})."
    )
    pictures = [Picture("bold", "Image, then −2 … 2 times bold − thin", partial(save_rows, shown))]
    if yard.judge is not None and train.labels is not None and test.labels is not None:
        means, present = class_means(codes, train.labels)
        moved = moved_to(z, test.labels, means, present)  # (K, N, D)
        hits = _hits(trained, yard, moved, test.labels, present)
        if len(hits):
            numbers["class_moved_share"] = float(hits.double().mean())
            text += (
                " A class is added by its mean code, less that of the image's own class: the judge "
                f"then sees the wanted class in {hits.double().mean():.1%} of {len(hits):,} images,"
                " none wanted in its own class."
            )
        rows = trained.decode(moved[:, :SHOWN].flatten(0, 1)).unflatten(0, (len(moved), -1))
        sheet = torch.cat([x_test[:SHOWN, None], rows.transpose(0, 1)], 1)
        pictures.append(Picture("classes", "Image, then each class", partial(save_rows, sheet)))
    return Finding(title="Attribute arithmetic", text=text, numbers=numbers, pictures=pictures)


def bold_minus_thin(x: Tensor, codes: Tensor) -> Tensor:
    """Mean code (D,) of the third of images with most ink, less that of the third with least."""
    order = x.flatten(1).mean(1).argsort()
    third = max(1, len(order) // 3)
    return codes[order[-third:]].mean(0) - codes[order[:third]].mean(0)


def class_means(codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean codes (K, D) of the classes that are there, and which they are (K,)."""
    present = labels.unique()
    return torch.stack([codes[labels == label].mean(0) for label in present]), present


def moved_to(z: Tensor, labels: Tensor, means: Tensor, present: Tensor) -> Tensor:
    """z (N, D) with the mean of its own class exchanged for that of each class: (K, N, D)."""
    own = torch.searchsorted(present, labels).clamp_max(len(present) - 1)
    return z + means[:, None] - means[own]


def _hits(
    trained: Trained, yard: Yardsticks, moved: Tensor, labels: Tensor, present: Tensor
) -> Tensor:
    """Whether the judge sees the wanted class in each image that was to leave its own, bool."""
    seen = [yard.judge(trained.decode(codes)).argmax(1) for codes in moved]  # type: ignore[misc]
    return (torch.stack(seen) == present[:, None])[labels != present[:, None]]
