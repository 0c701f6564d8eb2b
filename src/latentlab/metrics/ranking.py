"""How well a score ranks: area under the ROC curve, average precision. Ties are counted fairly."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError


def roc_curve(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """False and true positive rates (T + 1,) as the threshold falls past each distinct score.

    `scores` (N,), high for what should be positive; `positive` bool (N,). Both rates start at 0 and
    end at 1. Raises LatentlabError without at least one positive and one negative.
    """
    true, counted = _cumulative(scores, positive)
    false = counted - true
    if not true[-1] or not false[-1]:
        raise LatentlabError(
            f"{int(true[-1])} positive and {int(false[-1])} negative images: a ranking is judged"
            " by at least one of each"
        )
    start = torch.zeros(1, dtype=torch.float64)
    return torch.cat([start, false / false[-1]]), torch.cat([start, true / true[-1]])


def auroc(scores: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative), ties counting half (Hanley & McNeil 1982)."""
    false, true = roc_curve(scores, positive)
    return float(torch.trapezoid(true, false))


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Σ_t (recall_t − recall_{t−1}) precision_t over the distinct scores, from the highest down.

    `scores` (N,), `positive` bool (N,). Raises LatentlabError where nothing is positive.
    """
    true, counted = _cumulative(scores, positive)
    if not true[-1]:
        raise LatentlabError("average precision needs at least one positive image, got none")
    gained = torch.diff(true, prepend=torch.zeros(1, dtype=torch.float64)) / true[-1]
    return float((gained * true / counted).sum())


def _cumulative(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Positives, and all, among scores ≥ each distinct score, falling; float64 (T,) each."""
    if scores.ndim != 1 or scores.shape != positive.shape or not len(scores):
        raise LatentlabError(
            f"scores {tuple(scores.shape)} and marks {tuple(positive.shape)}: pass (N,) of both"
        )
    ordered, order = scores.sort(descending=True)
    last = torch.ones(len(ordered), dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    true = positive[order].double().cumsum(0)[last]
    counted = torch.arange(1, len(ordered) + 1, dtype=torch.float64)[last]
    return true, counted
