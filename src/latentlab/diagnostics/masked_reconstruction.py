"""Masked reconstruction: predict the masked patches of an image from the visible ones.

He et al. 2022, "Masked autoencoders are scalable vision learners", figures 2 and 4.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import MaskedModel, Split, to_float
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.grids import save_rows

MASK_RATIOS = (0.25, 0.5, 0.75, 0.9)
NUM_IMAGES = 500  # test images for each mask ratio
NUM_SHOWN = 10
MASK_GREY = 0.5


def applies(model: Any) -> bool:
    return isinstance(model, MaskedModel)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Measure the error of masked pixels for several mask ratios. Plot the ratio of training."""
    model, x = trained.module, to_float(evaluator.test.first(NUM_IMAGES).images)
    generator = torch.Generator().manual_seed(evaluator.settings.seed)
    table = score_ratios(model, x, mean_image(evaluator.train), generator)
    x = x[:NUM_SHOWN]
    visible = random_patches(len(x), model.num_patches, model.num_visible, generator)
    ratio = 1 - model.num_visible / model.num_patches
    caption = f"{ratio:.0%} masked, reconstructed, original"
    return Result(
        title="Masked reconstruction",
        summary=f"Upper row: the input, with {ratio:.0%} of the patches masked. Middle row: the "
        "prediction of the model, with the visible patches of the input. Lower row: the image. "
        "Table: the root mean squared error of masked pixels, for images in [0, 1], of the model "
        "and of the mean training image.",
        metrics={
            f"{column}_{row.split('%')[0]}": value
            for row, values in table.items()
            for column, value in values.items()
        },
        table=table,
        figures=[Figure("masked", caption, partial(save_rows, figure_rows(model, x, visible)))],
    )


def mean_image(train: Split) -> Tensor:
    """Mean of the training images, (C, H, W)."""
    return torch.stack([x.sum(0) for x in train.batches()]).sum(0) / len(train)


def score_ratios(
    model: MaskedModel, x: Tensor, mean: Tensor, generator: torch.Generator
) -> dict[str, dict[str, float]]:
    """A row for each mask ratio: errors of the model and of the `mean` image on x (N, C, H, W)."""
    target, baseline = model.patchify(x), model.patchify(mean.expand_as(x))
    table = {}
    for ratio in MASK_RATIOS:
        count = max(1, round(model.num_patches * (1 - ratio)))
        visible = random_patches(len(x), model.num_patches, count, generator)
        table[f"{1 - count / model.num_patches:.0%} masked"] = {
            "masked_pixel_rmse": masked_rmse(model.inpaint(x, visible), target, visible),
            "mean_image_rmse": masked_rmse(baseline, target, visible),
        }
    return table


def random_patches(count: int, patches: int, visible: int, generator: torch.Generator) -> Tensor:
    """Indices (count, visible) of visible patches, a random set for each image."""
    return torch.rand(count, patches, generator=generator).argsort(1)[:, :visible]


def masked_rmse(predicted: Tensor, target: Tensor, visible: Tensor) -> float:
    """Root mean squared error over the pixels of masked patches; patches are (B, N, P)."""
    error = (predicted - target).square().mean(2).scatter(1, visible, 0.0)
    masked = error.shape[1] - visible.shape[1]
    return float((error.sum() / (len(error) * masked)).sqrt())


def figure_rows(model: MaskedModel, x: Tensor, visible: Tensor) -> Tensor:
    """Three rows (3, B, C, H, W): masked, predicted with the visible patches of x, original."""
    target = model.patchify(x)
    mask = torch.ones(target.shape[:2], dtype=torch.bool).scatter(1, visible, False)[..., None]
    masked = torch.where(mask, MASK_GREY, target)
    predicted = torch.where(mask, model.inpaint(x, visible), target)
    return torch.stack([model.unpatchify(masked), model.unpatchify(predicted), x])
