"""Number of grey levels of a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.losses.discretized_gaussian import LEVELS


def num_grey_levels(images: Tensor) -> int:
    """The least L such that every value of uint8 `images` is one of L evenly spaced grey levels.

    Level k of L is 255 k / (L − 1), rounded. L is at most 128, or 256. Black and white images have
    2, scikit-learn's digits 17, photographs 256. A probability over more levels than the data have
    is smaller than it could be: up to log₂(256 / 17) = 3.9 bits for each value of the digits.
    """
    used = torch.bincount(images.flatten().to(torch.int64), minlength=LEVELS) > 0
    for count in range(2, LEVELS // 2 + 1):
        allowed = torch.zeros(LEVELS, dtype=torch.bool)
        allowed[torch.linspace(0, LEVELS - 1, count, dtype=torch.float64).round().long()] = True
        if not (used & ~allowed).any():
            return count
    return LEVELS
