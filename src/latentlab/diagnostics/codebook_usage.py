"""Codebook usage: how many codebook entries occur, and how many bits an image costs.

    bits per image = Σ_t H(s_t),   perplexity = exp H(s)

s_t is the index at position t, s the index at any position. H is the entropy of the frequencies.

van den Oord et al. 2017, "Neural discrete representation learning", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import DiscreteCodes
from latentlab.diagnostics import MAX_TEST_IMAGES
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.visualization.grids import save_grid

COLUMNS = 16  # of the figure, which has at most 4 rows


def applies(model: Any) -> bool:
    return isinstance(model, DiscreteCodes)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Count the indices of test images. Decode an image filled with each frequent index."""
    test = evaluator.test.first(MAX_TEST_IMAGES)
    indices = trained.encode(torch.cat(list(test.batches()))).long()  # (N, T)
    size = trained.module.codebook_size  # K
    counts = torch.stack([torch.bincount(column, minlength=size) for column in indices.T])  # (T, K)
    total = counts.sum(0)
    used = int((total > 0).sum())
    metrics = {
        "used_entries": float(used),
        "perplexity": math.exp(float(entropy(total[None]))),
        "bits_per_image": float(entropy(counts).sum() / math.log(2)),
        "max_bits_per_image": indices.shape[1] * math.log2(size),
    }
    frequent = total.argsort(descending=True)[: min(used, 4 * COLUMNS)]
    images = trained.decode(frequent[:, None].expand(-1, indices.shape[1]).float())
    plot = partial(save_grid, images, columns=COLUMNS)
    return Result(
        title="Codebook usage",
        summary=_summary(metrics, size, indices),
        metrics=metrics,
        figures=[Figure("codebook", "One index at all positions", plot)],
        warnings=[] if used > 1 else ["collapsed codebook: 1 entry is used"],
    )


def _summary(metrics: Mapping[str, float], size: int, indices: Tensor) -> str:
    return (
        f"{metrics['used_entries']:.0f} of {size} codebook entries occur in {len(indices):,} test "
        f"images. The perplexity is {metrics['perplexity']:.1f}: the number of equally frequent "
        f"entries with the same entropy. An image of {indices.shape[1]} indices costs "
        f"{metrics['bits_per_image']:.0f} bits with the frequencies of each position, and "
        f"{metrics['max_bits_per_image']:.0f} bits with equal frequencies. Figure: images with "
        "one index at all positions, the most frequent first."
    )


def entropy(counts: Tensor) -> Tensor:
    """Entropy of the frequencies in each row of counts (R, K), nats, (R,)."""
    p = counts.double() / counts.sum(1, keepdim=True)
    return torch.special.entr(p).sum(1)
