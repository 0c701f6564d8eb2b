"""Sparsity of the code: the number of active units per image, and the dictionary.

    x̂ ≈ Σ_j z_j d_j (+ an offset)          most z_j are 0; d_j is the dictionary image of unit j

Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a sparse
code for natural images".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import SparseCoder
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.grids import save_grid, save_rows

COLUMNS = 12  # of the dictionary figure, which has as many rows
NUM_IMAGES, NUM_PARTS = 4, 12  # images in the second figure, and parts of each


def applies(model: Any) -> bool:
    return isinstance(model, SparseCoder)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Count active units over the test split. Plot the dictionary, and images as sums of parts."""
    z = torch.cat([trained.encode(x) for x in evaluator.test.batches()])  # (N, D)
    active = trained.module.active(z)
    usage = active.double().mean(0)  # (D,) fraction of images in which a unit is active
    per_image = float(active.sum(1).double().mean())
    metrics = {
        "active_units_per_image": per_image,
        "inactive_fraction": 1 - per_image / z.shape[1],
        "mean_activation": float(z.double().mean()),
        "dead_units": float((usage == 0).sum()),
        "most_used_unit_fraction": float(usage.max()),
    }
    dictionary = trained.module.dictionary().cpu()
    units = most_used(dictionary, usage)
    parts = decompose(trained, next(evaluator.test.first(NUM_IMAGES).batches()), dictionary)
    caption = f"Dictionary images of the {len(units)} most used units"
    return Result(
        title="Sparsity",
        summary=_summary(metrics, z.shape[1]),
        metrics=metrics,
        figures=[
            Figure("dictionary", caption, partial(save_grid, units, columns=COLUMNS)),
            Figure("parts", "Images, their parts, and sums of parts", partial(save_rows, parts)),
        ],
        warnings=[] if per_image else ["no unit is active"],
    )


def _summary(metrics: Mapping[str, float], units: int) -> str:
    return (
        f"{metrics['active_units_per_image']:.1f} of {units} units are active for a test image. "
        f"{metrics['dead_units']:.0f} units are dead: they are active for no image. First figure: "
        "dictionary images of the most used units; white adds intensity, black subtracts it, grey "
        f"is 0. Second figure, upper rows: an image and its {NUM_PARTS} largest parts. Lower rows: "
        "the reconstruction, and the sums of the first 1, 2, 3, … parts."
    )


def most_used(dictionary: Tensor, usage: Tensor) -> Tensor:
    """Images (≤ COLUMNS², C, H, W) of the most used units, each scaled so that 0 is grey 0.5."""
    chosen = dictionary[usage.argsort(descending=True, stable=True)[: COLUMNS**2]]
    peak = chosen.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None]
    return 0.5 + 0.5 * chosen / peak


def decompose(trained: TrainedModel, x: Tensor, dictionary: Tensor) -> Tensor:
    """Two rows for each image, (2 B, 1 + NUM_PARTS, C, H, W), from its code z.

    Upper row: x, and the parts z_j d_j of largest norm, where 0 is grey 0.5 and all parts of an
    image have one scale. Lower row: x̂, and the decoded sums of the first 1, 2, … parts.
    """
    z = trained.encode(x)
    norms = z.abs() * dictionary.flatten(1).norm(dim=1)  # (B, D)
    top = norms.argsort(dim=1, descending=True)[:, :NUM_PARTS]  # (B, NUM_PARTS)
    parts = z.gather(1, top)[:, :, None, None, None] * dictionary[top]
    peak = parts.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None, None]
    first = torch.ones(top.shape[1], top.shape[1]).tril()  # row m keeps the first m + 1 parts
    codes = torch.zeros(len(z), top.shape[1], z.shape[1])
    codes.scatter_(2, top[:, None].expand(-1, top.shape[1], -1), first * z.gather(1, top)[:, None])
    sums = trained.decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
    upper = torch.cat([x[:, None], 0.5 + 0.5 * parts / peak], dim=1)
    lower = torch.cat([trained.decode(z)[:, None], sums], dim=1)
    return torch.stack([upper, lower], dim=1).flatten(0, 1)
