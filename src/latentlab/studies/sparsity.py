"""Sparsity: how few units an image needs, and what each of them draws.

    x̂ ≈ Σ_j z_j d_j (+ an offset)          most z_j are 0: x is a sum of few parts d_j

Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a sparse
code for natural images".
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.plots import save_grid, save_rows
from latentlab.trained import Trained

COLUMNS = 12  # of the picture of the dictionary, which is square
IMAGES, PARTS = 4, 12  # that are taken apart, and into how many


@runtime_checkable
class SparseCoder(Protocol):
    """A model with a linear decoder and a sparse code.

    `dictionary`: what each of the D units draws, (D, C, H, W), of any sign. `active`: codes (B, D)
    → which units count as on, (B, D) bool.
    """

    def encode(self, x: Tensor) -> Tensor: ...

    def dictionary(self) -> Tensor: ...

    def active(self, z: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, SparseCoder)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Count who is on over the test split; draw the units used most, and images as their sums."""
    z = torch.cat([trained.encode(x) for x in yard.test.batches()])  # (N, D)
    on = trained.module.active(z)
    use = on.double().mean(0)  # (D,) share of the images that use a unit
    dictionary = trained.module.dictionary().cpu()
    per_image, unused = float(on.sum(1).double().mean()), int((use == 0).sum())
    numbers = {
        "active_units_per_image": per_image,
        "inactive_share": 1 - per_image / z.shape[1],
        "mean_activation": float(z.double().mean()),
        "unused_units": float(unused),
        "most_used_unit_share": float(use.max()),
    }
    x = next(yard.test.first(IMAGES).batches())
    return Finding(
        title="Sparsity of the code",
        text=f"{per_image:.1f} of {z.shape[1]} units are on for a test image, and {unused} are on "
        "for none. The first picture shows what the units used most draw: white adds light, black "
        "takes it away, grey does nothing. The second takes images apart: above, the image and "
        f"the {PARTS} parts that add most to it; below, its reconstruction and what the first "
        "1, 2, 3 … of these parts draw together.",
        numbers=numbers,
        pictures=[
            Picture(
                "dictionary",
                f"What the {COLUMNS**2} most used units draw",
                partial(save_grid, drawn(dictionary, use), columns=COLUMNS),
            ),
            Picture(
                "parts",
                "Images, their parts, and the sums of these",
                partial(save_rows, parts(trained, x, dictionary)),
            ),
        ],
        flags=[] if per_image else ["no unit is ever on"],
    )


def drawn(dictionary: Tensor, use: Tensor) -> Tensor:
    """The units used most (at most COLUMNS², C, H, W), each scaled so that 0 becomes grey 0.5."""
    chosen = dictionary[use.argsort(descending=True, stable=True)[: COLUMNS**2]]
    peak = chosen.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None]
    return 0.5 + 0.5 * chosen / peak


def parts(trained: Trained, x: Tensor, dictionary: Tensor) -> Tensor:
    """Two rows an image, (2 B, 1 + PARTS, C, H, W), from its code z.

    Above: x, and the z_j d_j of largest norm, around grey 0.5 on one scale. Below: x̂, and what the
    first 1, 2, … of these parts draw together.
    """
    z = trained.encode(x)
    norms = z.abs() * dictionary.flatten(1).norm(dim=1)  # (B, D)
    top = norms.argsort(dim=1, descending=True)[:, :PARTS]  # (B, PARTS)
    summands = z.gather(1, top)[:, :, None, None, None] * dictionary[top]
    peak = summands.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None, None]
    first = torch.ones(top.shape[1], top.shape[1]).tril()  # row m keeps the first m + 1
    codes = torch.zeros(len(z), top.shape[1], z.shape[1])
    codes.scatter_(2, top[:, None].expand(-1, top.shape[1], -1), first * z.gather(1, top)[:, None])
    sums = trained.decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
    above = torch.cat([x[:, None], 0.5 + 0.5 * summands / peak], dim=1)
    below = torch.cat([trained.decode(z)[:, None], sums], dim=1)
    return torch.stack([above, below], dim=1).flatten(0, 1)
