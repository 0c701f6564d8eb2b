"""Style mixing: which part of the image does each size control, and what does truncation cost?

Karras et al. 2019, "A style-based generator architecture for GANs", section 3.1 and figure 8.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Split, StyleBased
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.prdc import prdc
from latentlab.visualization.grids import save_rows

TRUNCATIONS = (1.0, 0.7, 0.5, 0.3)
MAX_IMAGES = 2000
NUM_ROWS, NUM_COLUMNS = 6, 8  # of the mixing figure
NUM_CODES = 10  # of the truncation figure
BATCH = 500


def applies(model: Any) -> bool:
    return isinstance(model, StyleBased)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Mix the styles of pairs of codes. Measure samples at several truncations."""
    model = trained.module
    count = min(MAX_IMAGES, evaluator.num_samples)
    z = trained.sample_latents(count, seed=evaluator.settings.seed)
    truncations = (*TRUNCATIONS, 0.0)
    truncated = torch.stack(
        [model.synthesize(model.styles(z[:NUM_CODES], truncation=psi)) for psi in truncations]
    )
    mixed = mixed_images(model, z[:NUM_ROWS], z[NUM_ROWS : NUM_ROWS + NUM_COLUMNS])
    return Result(
        title="Style mixing",
        summary="First figure: each image has the coarse styles of its row and the fine styles of "
        "its column. Second figure: the styles of equal codes move towards the mean style from "
        f"row to row, ψ = {', '.join(f'{psi:g}' for psi in truncations)}. Truncation increases "
        f"precision and decreases recall. An FID of {count:,} images can be compared within this "
        "table only.",
        table=truncation_table(trained, evaluator, z),
        figures=[
            Figure(
                "mixing",
                "Coarse styles from the row, fine styles from the column",
                partial(save_rows, mixed),
            ),
            Figure("truncation", "Equal codes from ψ = 1 down to 0", partial(save_rows, truncated)),
        ],
    )


def truncation_table(
    trained: TrainedModel, evaluator: Evaluator, z: Tensor
) -> dict[str, dict[str, float]]:
    """FID, precision and recall of the images of codes z (N, D), for each truncation."""
    model = trained.module
    real = extract(evaluator.feature_extractor, Split(evaluator.test.images[: len(z)]))
    table = {}
    for psi in TRUNCATIONS:
        images = [model.synthesize(model.styles(codes, truncation=psi)) for codes in z.split(BATCH)]
        fake = extract(evaluator.feature_extractor, torch.cat(images))
        scores = prdc(real, fake)
        table[f"ψ = {psi:g}"] = {
            f"FID at {len(z):,}": fid(real, fake),
            "precision": scores["precision"],
            "recall": scores["recall"],
        }
    return table


def mixed_images(model: StyleBased, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (R + 1, K + 1, C, H, W); the first row and column show the codes without mixing.

    `rows` (R, D): codes of the coarse styles. `columns` (K, D): codes of the fine styles.
    """
    coarse, fine = model.styles(rows), model.styles(columns)  # (R, L, D), (K, L, D)
    half = coarse.shape[1] // 2
    top = model.synthesize(fine)
    grid = [torch.cat([torch.zeros_like(top[:1]), top])]
    for styles in coarse:
        mixed = fine.clone()
        mixed[:, :half] = styles[:half]
        grid.append(model.synthesize(torch.cat([styles[None], mixed])))
    return torch.stack(grid)
