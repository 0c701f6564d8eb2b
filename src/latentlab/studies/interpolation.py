"""Interpolation: from one image to another along a straight line, and along an arc.

    linear     (1 − t) a + t b
    spherical  [sin((1 − t) Ω) a + sin(t Ω) b] / sin Ω,   Ω the angle between a and b

Codes of N(0, I) lie near a sphere of radius √D; a straight line cuts through its empty inside.
White 2016, "Sampling generative networks", section 2.1.
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

PAIRS = 500
SHOWN = 5  # pairs that are drawn
STEPS = 10


@runtime_checkable
class GaussianPosterior(Protocol):
    """Images (B, C, H, W) → (mu, logvar), (B, D) each, under the prior N(0, I)."""

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


def applies(model: Any) -> bool:
    return isinstance(model, GaussianPosterior)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Both ways between pairs of prior draws: what lies in the middle; drawn between images."""
    a, b = torch.randn(
        (2, PAIRS, trained.module.latent_dim),
        generator=torch.Generator().manual_seed(yard.settings.seed),
    )
    half = torch.tensor([0.5])
    middles = {"ends": a, "linear": linear(a, b, half)[:, 0], "spherical": slerp(a, b, half)[:, 0]}
    table = {name: _row(trained, yard, z) for name, z in middles.items()}
    x = next(yard.test.first(2 * min(SHOWN, len(yard.test) // 2)).batches())
    start, end = trained.encode(x[0::2]), trained.encode(x[1::2])
    t = torch.linspace(0, 1, STEPS)
    lines = torch.stack([linear(start, end, t), slerp(start, end, t)], 1).flatten(0, 1)
    images = trained.decode(lines.flatten(0, 1)).unflatten(0, (2 * len(start), STEPS))
    return Finding(
        title="Interpolation",
        text=f"The middle between {PAIRS} pairs of codes drawn from the prior. Halfway along a "
        "straight line the code is shorter than any the prior draws; the arc keeps its length. "
        "Below, pairs of rows: the same two test images, joined straight and by the arc.",
        numbers={
            f"{name}_{key}": table[name][key]
            for name in ("linear", "spherical")
            for key in table[name]
        },
        table=table,
        pictures=[
            Picture("paths", "Straight (upper row) and along the arc", partial(save_rows, images))
        ],
    )


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes (N, D) joined straight at the places t (T,) in [0, 1]: (N, T, D)."""
    t = t[None, :, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes (N, D) joined by an arc at the places t (T,) in [0, 1]: (N, T, D).

    Straight where a and b point the same way, or against each other, and no arc is determined.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    omega = cosine.arccos()[:, None, None]  # (N, 1, 1)
    sine, t_ = omega.sin(), t[None, :, None]
    arc = ((1 - t_) * omega).sin() * a[:, None] + (t_ * omega).sin() * b[:, None]
    return torch.where(sine > 1e-4, arc / sine.clamp_min(1e-4), linear(a, b, t))


def _row(trained: Trained, yard: Yardsticks, z: Tensor) -> dict[str, float]:
    row = {"code_length": float(z.norm(dim=1).mean())}
    if yard.judge is not None:
        sure = yard.judge(trained.decode(z)).softmax(1).max(1).values
        row["judge_confidence"] = float(sure.mean())
    return row
