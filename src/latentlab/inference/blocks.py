"""Samples of which the first do not depend on how many are drawn.

A random generator gives a tensor of 16 codes other values than the first rows of a tensor of 64
codes: noise and classes are drawn one after the other, and the last values of a block are drawn in
another way. Blocks of fixed sizes, one after the other from one generator, have no such effect.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.contracts import LatentSampler

FIRST_BLOCK, LARGEST_BLOCK = 16, 1024  # codes


def sample_blocks(
    sampler: LatentSampler, count: int, dim: int, generator: torch.Generator
) -> Tensor:
    """Sample codes (count, D) in blocks of 16, 32, 64, … 1,024, 1,024, … codes.

    The last block is sampled as a whole and then cut. So code i depends on the state of the
    generator and on i only.
    """
    codes = torch.empty(count, dim)  # at once, so that too many codes fail before any is sampled
    start, size = 0, FIRST_BLOCK
    while start < count:
        block = sampler.sample((size, dim), generator)[: count - start]
        codes[start : start + len(block)] = block
        start, size = start + len(block), min(2 * size, LARGEST_BLOCK)
    return codes
