"""ROC curve and average precision of scores that separate positives from negatives (scikit-learn).

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
    from sklearn import metrics

    _require_two_classes(scores, positive)
    rates = metrics.roc_curve(positive.numpy(), scores.numpy(), drop_intermediate=False)
    return torch.from_numpy(rates[0]), torch.from_numpy(rates[1])


def auroc(scores: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative), in [0, 1]; equal scores count ½.

    Source: Hanley & McNeil 1982. Arguments and errors as in `roc_curve`.
    """
    from sklearn.metrics import roc_auc_score

    _require_two_classes(scores, positive)
    return float(roc_auc_score(positive.numpy(), scores.numpy()))


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Σ_t (recall_t − recall_{t−1}) precision_t over the thresholds from high to low, in [0, 1].

    `scores` (N,), `positive` (N,) bool. Raises LatentlabError without a positive.
    """
    from sklearn.metrics import average_precision_score

    _require_vectors(scores, positive)
    if not positive.any():
        raise LatentlabError(
            "0 positive images: average precision needs at least one. Use more images"
        )
    return float(average_precision_score(positive.numpy(), scores.numpy()))


def _require_two_classes(scores: Tensor, positive: Tensor) -> None:
    _require_vectors(scores, positive)
    count = int(positive.sum())
    if count in (0, len(positive)):
        raise LatentlabError(
            f"{count} positive and {len(positive) - count} negative images: an ROC curve needs at"
            " least one of each. Use more test images"
        )


def _require_vectors(scores: Tensor, positive: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != positive.shape or not len(scores):
        raise LatentlabError(
            f"scores {tuple(scores.shape)} and positive {tuple(positive.shape)}: both must have"
            " the shape (N,), N ≥ 1"
        )
