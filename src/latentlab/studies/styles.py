"""Styles: what each size of a style-based generator decides, and what truncation trades.

Karras et al. 2019, "A style-based generator architecture for GANs", section 3.1 and figure 8.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.features import extract
from latentlab.metrics.fid import GaussianStatistics, frechet_distance
from latentlab.metrics.prdc import prdc
from latentlab.plots import save_rows
from latentlab.trained import Trained

TRUNCATIONS = (1.0, 0.7, 0.5, 0.3)
IMAGES = 2000


@runtime_checkable
class Styled(Protocol):
    """Codes (B, D) → styles (B, L, D) → images (B, C, H, W) in [0, 1]."""

    def styles(self, z: Tensor, *, truncation: float = 1.0) -> Tensor: ...

    def draw(self, styles: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, Styled)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Mix styles of two codes at each size; score samples at several truncations."""
    model, seed = trained.module, yard.settings.seed
    count = min(IMAGES, yard.num_samples)
    z = trained.draw(count, seed=seed)
    real = extract(yard.eyes, Split(yard.test.images[:count]))
    table = {}
    for psi in TRUNCATIONS:
        images = torch.cat(
            [model.draw(model.styles(part, truncation=psi)) for part in z.split(500)]
        )
        fake = extract(yard.eyes, images)
        scores = prdc(real, fake)
        fid = frechet_distance(GaussianStatistics.of(real), GaussianStatistics.of(fake))
        table[f"ψ = {psi:g}"] = {
            f"FID at {count:,}": fid,
            "precision": scores["precision"],
            "recall": scores["recall"],
        }
    levels = torch.stack(
        [model.draw(model.styles(z[:10], truncation=psi)) for psi in (*TRUNCATIONS, 0.0)]
    )
    return Finding(
        title="Styles",
        text="First: the styles of the row's image for the coarse sizes and those of the column's "
        "for the fine ones. Then the same codes, their styles drawn towards the mean from row to "
        f"row, ψ = {', '.join(f'{psi:g}' for psi in (*TRUNCATIONS, 0.0))}. Truncation gains "
        f"precision and loses recall; FIDs of {count:,} images compare within this table only.",
        table=table,
        pictures=[
            Picture("mixing", "Coarse styles from the row, fine from the column",
                    partial(save_rows, mixtures(model, z[:6], z[6:14]))),
            Picture("truncation", "The same codes from ψ = 1 down to 0",
                    partial(save_rows, levels)),
        ],
    )  # fmt: skip


def mixtures(model: Any, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (R + 1, K + 1, C, H, W): the top row and left column show the codes unmixed."""
    coarse, fine = model.styles(rows), model.styles(columns)  # (R, L, D), (K, L, D)
    half = coarse.shape[1] // 2
    above = model.draw(fine)
    sheet = [torch.cat([torch.zeros_like(above[:1]), above])]
    for own in coarse:
        mixed = fine.clone()
        mixed[:, :half] = own[:half]
        sheet.append(model.draw(torch.cat([own[None], mixed])))
    return torch.stack(sheet)
