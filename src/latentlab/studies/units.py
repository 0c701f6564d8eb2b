"""Active units: which codes carry anything, and whether the posterior has collapsed.

    A_u = Var_x( E_{q(u|x)}[u] )          active where A_u > 0.01

Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.importance import binarized
from latentlab.plots import save_rows
from latentlab.trained import Trained

ACTIVE = 0.01
SHOWN = 8  # units that are traversed


@runtime_checkable
class GaussianPosterior(Protocol):
    """Images (B, C, H, W) → (mu, logvar), (B, D) each, under the prior N(0, I)."""

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


def applies(model: Any) -> bool:
    return isinstance(model, GaussianPosterior)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Count the active units on the test split, and traverse the most active ones."""
    pairs = [trained.module.posterior(x) for x in observed(trained, yard)]
    mu, logvar = (torch.cat(part).double() for part in zip(*pairs, strict=True))  # (N, D)
    variance = mu.var(0)
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).mean(0)  # (D,) nats
    active = int((variance > ACTIVE).sum())
    order = variance.argsort(descending=True)[:SHOWN]
    numbers = {
        "active_units": float(active),
        "active_share": active / len(variance),
        "kl_nats": float(kl.sum()),
        "kl_max_unit_nats": float(kl.max()),
    }
    return Finding(
        title="Active units",
        text=f"{active} of {len(variance)} codes are active: the mean of their posterior varies by "
        f"more than {ACTIVE} over the test images. Rows of the picture: one image, and what "
        f"becomes of it as one of its {len(order)} most active codes runs from −3 to 3.",
        numbers=numbers,
        pictures=[
            Picture(
                "traversals",
                "One code at a time, −3 … 3",
                partial(save_rows, traversals(trained, mu[:1].float(), order)),
            )
        ],
        flags=[] if active else ["posterior collapse: no unit is active"],
    )


def observed(trained: Trained, yard: Yardsticks) -> Iterator[Tensor]:
    """Test images as the model was trained on them: binary draws where its pixels are binary."""
    binary = getattr(getattr(trained.module, "pixels", None), "binary", False)
    for number, x in enumerate(yard.test.batches()):
        yield binarized(x, yard.settings.seed + number) if binary else x  # each batch its own draws


def traversals(trained: Trained, z: Tensor, units: Tensor, *, steps: int = 10) -> Tensor:
    """Images (U, steps, C, H, W): the code z (1, D) with one unit a row moved from −3 to 3."""
    codes = z.repeat(len(units) * steps, 1).unflatten(0, (len(units), steps))
    for row, unit in enumerate(units.tolist()):
        codes[row, :, unit] = torch.linspace(-3, 3, steps)
    return trained.decode(codes.flatten(0, 1)).unflatten(0, (len(units), steps))
