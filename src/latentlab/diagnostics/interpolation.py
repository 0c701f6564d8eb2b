"""Interpolation between codes, linear and spherical.

    linear     (1 − t) a + t b
    spherical  [sin((1 − t) Ω) a + sin(t Ω) b] / sin Ω,   Ω: the angle between a and b

Codes of N(0, I) lie near a sphere of radius √D. Points on the straight line between two of them
are nearer to 0, where the prior has almost no samples.

White 2016, "Sampling generative networks", section 2.1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import GaussianPosterior
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.grids import save_rows

NUM_PAIRS = 500
NUM_SHOWN = 5  # pairs in the figure
STEPS = 10


def applies(model: Any) -> bool:
    return isinstance(model, GaussianPosterior)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Measure the midpoints between samples of the prior. Plot paths between test images."""
    a, b = torch.randn(
        (2, NUM_PAIRS, trained.module.latent_dim),
        generator=torch.Generator().manual_seed(evaluator.settings.seed),
    )
    half = torch.tensor([0.5])
    points = {"ends": a, "linear": linear(a, b, half)[:, 0], "spherical": slerp(a, b, half)[:, 0]}
    table = {name: _row(trained, evaluator, z) for name, z in points.items()}
    images = paths(trained, evaluator)
    caption = "Linear (upper row of each pair) and spherical"
    return Result(
        title="Interpolation",
        summary=f"Midpoints between {NUM_PAIRS} pairs of samples of the prior. A midpoint of the "
        "straight line has a smaller norm than samples of the prior. A midpoint of the arc does "
        "not. Figure: two rows for each pair of test images, linear above spherical.",
        metrics={
            f"{name}_{key}": value
            for name in ("linear", "spherical")
            for key, value in table[name].items()
        },
        table=table,
        figures=[Figure("paths", caption, partial(save_rows, images))],
    )


def paths(trained: TrainedModel, evaluator: Evaluator) -> Tensor:
    """Images (2 P, STEPS, C, H, W) between P pairs of test images, linear and spherical in turn."""
    x = next(evaluator.test.first(2 * min(NUM_SHOWN, len(evaluator.test) // 2)).batches())
    a, b = trained.encode(x[0::2]), trained.encode(x[1::2])  # (P, D)
    t = torch.linspace(0, 1, STEPS)
    z = torch.stack([linear(a, b, t), slerp(a, b, t)], 1).flatten(0, 1)  # (2 P, STEPS, D)
    return trained.decode(z.flatten(0, 1)).unflatten(0, (2 * len(a), STEPS))


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points (N, T, D) on straight lines between codes (N, D), at fractions t (T,) in [0, 1]."""
    t = t[None, :, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points (N, T, D) on arcs between codes (N, D), at fractions t (T,) in [0, 1].

    Linear where a and b are parallel or opposite, because the arc is then not unique.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    omega = cosine.arccos()[:, None, None]  # (N, 1, 1)
    sine, t_ = omega.sin(), t[None, :, None]
    arc = ((1 - t_) * omega).sin() * a[:, None] + (t_ * omega).sin() * b[:, None]
    return torch.where(sine > 1e-4, arc / sine.clamp_min(1e-4), linear(a, b, t))


def _row(trained: TrainedModel, evaluator: Evaluator, z: Tensor) -> dict[str, float]:
    row = {"latent_norm": float(z.norm(dim=1).mean())}
    if evaluator.classifier is not None:
        confidence = evaluator.classifier(trained.decode(z)).softmax(1).max(1).values
        row["classifier_confidence"] = float(confidence.mean())
    return row
