"""Half widths of 95 % intervals: of means over images, of fractions, and of means over draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

CONFIDENCE = 0.95
NORMAL = float(ndtri((1 + CONFIDENCE) / 2))  # 1.96
RESAMPLES = 1000
_BLOCK = 2**24  # rows × resamples in memory at a time: 64 MB


def mean_half_width(values: Tensor, *, seed: int = 0) -> float:
    """Half width for the mean of `values` (N,): percentiles of 1,000 bootstrap means.

    Half the distance between the 2.5 % and the 97.5 % percentile (Efron & Tibshirani 1993, "An
    introduction to the bootstrap", chapter 13). NaN for fewer than 2 values.
    """
    count = len(values)
    if count < 2:
        return math.nan
    generator = torch.Generator().manual_seed(seed)
    values, means = values.to("cpu", torch.float64), []
    chunk = max(1, _BLOCK // count)
    for start in range(0, RESAMPLES, chunk):
        rows = torch.randint(count, (min(chunk, RESAMPLES - start), count), generator=generator)
        means.append(values[rows].mean(1))
    ends = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    low, high = torch.cat(means).quantile(ends).tolist()
    return float(high - low) / 2


def fraction_half_width(correct: Tensor) -> float:
    """Half width for the fraction of true values in `correct` (N,), bool.

    Of Wilson's score interval (Wilson 1927). It is not 0 if all or no values are true, as that of a
    bootstrap would be. NaN for no value.
    """
    count = len(correct)
    if count == 0:
        return math.nan
    p = float(correct.double().mean())
    root = math.sqrt(p * (1 - p) / count + NORMAL**2 / (4 * count**2))
    return NORMAL * root / (1 + NORMAL**2 / count)


def draws_half_width(values: Sequence[float], *, other_std: float = 0.0) -> float:
    """Half width for the mean of independent draws: Student's t with n − 1 degrees of freedom.

    `other_std`: standard deviation of the mean by a second cause that all draws share, such as the
    choice of the real images; both parts are added in squares. NaN for fewer than 2 draws.
    """
    count = len(values)
    if count < 2:
        return math.nan
    std = float(torch.tensor(values, dtype=torch.float64).std())
    t = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return math.hypot(t * std / math.sqrt(count), NORMAL * other_std)
