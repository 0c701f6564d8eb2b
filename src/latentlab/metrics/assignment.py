"""Codes against labels, when nobody has said which code stands for which label."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError


def counts(codes: Tensor, labels: Tensor) -> Tensor:
    """How often code i meets label j, int64 (codes, labels), from int64 (N,) each.

    Raises LatentlabError unless both are as long, not empty and not negative.
    """
    if codes.shape != labels.shape or codes.ndim != 1 or not len(codes):
        raise LatentlabError(
            f"codes {tuple(codes.shape)} and labels {tuple(labels.shape)}: pass one of each per"
            " image, (N,) with N ≥ 1"
        )
    if int(codes.min()) < 0 or int(labels.min()) < 0:
        raise LatentlabError("a code or a label is negative: leave out images without a label")
    width = int(labels.max()) + 1
    cells = torch.bincount(codes * width + labels, minlength=(int(codes.max()) + 1) * width)
    return cells.view(-1, width)


def best_assignment(table: Tensor) -> dict[int, int]:
    """{code: label} that agrees most often with `table` (codes, labels), each label used once.

    The Hungarian method (Kuhn 1955). Codes beyond the number of labels stay without one.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))
