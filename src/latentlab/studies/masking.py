"""Masking: what a model fills in where most of an image is hidden, and how that ends.

He et al. 2022, "Masked autoencoders are scalable vision learners", figures 2 and 4.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import to_float
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.plots import save_rows
from latentlab.trained import Trained

RATIOS = (0.25, 0.5, 0.75, 0.9)
SCORED = 500  # test images at each ratio
SHOWN = 10
HIDDEN_GREY = 0.5


@runtime_checkable
class FillsIn(Protocol):
    """N patches, V visible: x (B, C, H, W), places (B, V) of visible ones → all (B, N, P)."""

    patches: int
    visible: int

    def to_patches(self, x: Tensor) -> Tensor: ...

    def to_image(self, patches: Tensor) -> Tensor: ...

    def fill_in(self, x: Tensor, visible: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, FillsIn)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Error on hidden pixels at several mask ratios, and pictures at the ratio of training."""
    model, x = trained.module, to_float(yard.test.first(SCORED).images)
    mean = torch.stack([part.sum(0) for part in yard.train.batches()]).sum(0) / len(yard.train)
    generator = torch.Generator().manual_seed(yard.settings.seed)
    table = {}
    for ratio in RATIOS:
        count = max(1, round(model.patches * (1 - ratio)))
        visible = draw(len(x), model.patches, count, generator)
        filled = model.fill_in(x, visible)
        average = model.to_patches(mean.expand_as(x))
        target = model.to_patches(x)
        table[f"{1 - count / model.patches:.0%} hidden"] = {
            "hidden_pixel_rmse": hidden_rmse(filled, target, visible),
            "mean_image_rmse": hidden_rmse(average, target, visible),
        }
    visible = draw(min(SHOWN, len(x)), model.patches, model.visible, generator)
    share = 1 - model.visible / model.patches
    return Finding(
        title="Masking",
        text=f"Above: what the model sees, {1 - share:.0%} of the patches. Middle: what it makes "
        "of that, the visible patches pasted in. Below: the image. The table is the error per "
        "hidden pixel, on images in [0, 1], beside that of the mean training image.",
        numbers={
            f"{column}_{row.split('%')[0]}": value
            for row, values in table.items()
            for column, value in values.items()
        },
        table=table,
        pictures=[
            Picture(
                "masking",
                f"{share:.0%} hidden, filled in, original",
                partial(save_rows, pictures(trained, x[:SHOWN], visible)),
            )
        ],
    )


def draw(count: int, patches: int, visible: int, generator: torch.Generator) -> Tensor:
    """Places (count, visible) of visible patches, a random set for each image."""
    return torch.rand(count, patches, generator=generator).argsort(1)[:, :visible]


def hidden_rmse(filled: Tensor, target: Tensor, visible: Tensor) -> float:
    """Root of the mean squared error over the pixels of hidden patches; patches are (B, N, P)."""
    error = (filled - target).square().mean(2).scatter(1, visible, 0.0)
    hidden = error.shape[1] - visible.shape[1]
    return float((error.sum() / (len(error) * hidden)).sqrt())


def pictures(trained: Trained, x: Tensor, visible: Tensor) -> Tensor:
    """Three rows (3, B, C, H, W): masked, filled in with the visible patches pasted, original."""
    model = trained.module
    target = model.to_patches(x)
    seen = torch.zeros(target.shape[:2], dtype=torch.bool).scatter(1, visible, True)[..., None]
    masked = torch.where(seen, target, HIDDEN_GREY)
    pasted = torch.where(seen, target, model.fill_in(x, visible))
    return torch.stack([model.to_image(masked), model.to_image(pasted), x])
