"""ROC curve and average precision of scores that separate positives from negatives.

Equal scores share one threshold, so the order of the images has no influence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError


def roc_curve(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """False and true positive rates, (T + 1,) each, in [0, 1], for T thresholds from high to low.

    `scores` (N,): high for a positive. `positive` (N,): bool. Both rates go from 0 to 1.
    Raises LatentlabError without at least one positive and one negative.
    """
    true, counted = _cumulative(scores, positive)
    false = counted - true
    if not true[-1] or not false[-1]:
        raise LatentlabError(
            f"{int(true[-1])} positive and {int(false[-1])} negative images: an ROC curve needs at"
            " least one of each. Use more test images"
        )
    start = torch.zeros(1, dtype=torch.float64)
    return torch.cat([start, false / false[-1]]), torch.cat([start, true / true[-1]])


def auroc(scores: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative), in [0, 1]; equal scores count ½.

    Source: Hanley & McNeil 1982. Arguments and errors as in `roc_curve`.
    """
    false, true = roc_curve(scores, positive)
    return float(torch.trapezoid(true, false))


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Σ_t (recall_t − recall_{t−1}) precision_t over the thresholds from high to low, in [0, 1].

    `scores` (N,), `positive` (N,) bool. Raises LatentlabError without a positive.
    """
    true, counted = _cumulative(scores, positive)
    if not true[-1]:
        raise LatentlabError(
            "0 positive images: average precision needs at least one. Use more images"
        )
    gain = torch.diff(true, prepend=torch.zeros(1, dtype=torch.float64)) / true[-1]
    return float((gain * true / counted).sum())


def _cumulative(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Number of positives, and of images, with scores ≥ each threshold; float64 (T,) each."""
    if scores.ndim != 1 or scores.shape != positive.shape or not len(scores):
        raise LatentlabError(
            f"scores {tuple(scores.shape)} and positive {tuple(positive.shape)}: both must have"
            " the shape (N,), N ≥ 1"
        )
    ordered, order = scores.sort(descending=True)
    last = torch.ones(len(ordered), dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    true = positive[order].double().cumsum(0)[last]
    counted = torch.arange(1, len(ordered) + 1, dtype=torch.float64)[last]
    return true, counted
