"""Best one-to-one assignment of unnamed categories to labels."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError


def contingency_table(categories: Tensor, labels: Tensor) -> Tensor:
    """Number of images with category i and label j, int64 (I, J).

    `categories`, `labels`: int64 (N,), one of each for an image, ≥ 0. Raises LatentlabError for
    other shapes, no image, or negative values.
    """
    if categories.shape != labels.shape or categories.ndim != 1 or not len(categories):
        raise LatentlabError(
            f"categories {tuple(categories.shape)} and labels {tuple(labels.shape)}: pass one of"
            " each per image, (N,) with N ≥ 1"
        )
    if int(categories.min()) < 0 or int(labels.min()) < 0:
        raise LatentlabError(
            "a category or a label is negative: pass values ≥ 0 and leave out unlabelled images"
        )
    width = int(labels.max()) + 1
    cells = torch.bincount(
        categories * width + labels, minlength=(int(categories.max()) + 1) * width
    )
    return cells.view(-1, width)


def best_assignment(table: Tensor) -> dict[int, int]:
    """Return {category: label} with the largest sum of `table` (I, J); each label is used once.

    The Hungarian method (Kuhn 1955). If there are more categories than labels, some categories
    are missing in the result.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))
