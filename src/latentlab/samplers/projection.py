"""Projection of codes into the region that a sampler fills.

Most samples of N(0, I) in D dimensions have a norm near √D. Here the region of a Gaussian is the
ball that holds 99 % of its samples: a code outside is scaled down to the border. A uniform part is
clamped to its cube. A one-hot part becomes the one-hot vector of its largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from latentlab.contracts import CodePart

PROBABILITY = 0.99  # of a sample of the prior to be inside the region


@cache
def typical_radius(dim: int) -> float:
    """The norm that a sample of N(0, I) in `dim` dimensions exceeds with a probability of 1 %.

    It is the root of a quantile of χ²: P(dim / 2, r² / 2) = 0.99, with the regularized incomplete
    gamma function P, solved for r by bisection. 64 dimensions: 9.65.
    """
    low, high = 0.0, dim**0.5 + 10.0
    half = torch.tensor(dim / 2, dtype=torch.float64)
    for _ in range(60):
        middle = (low + high) / 2
        inside = torch.special.gammainc(half, torch.full_like(half, middle**2 / 2))
        low, high = (middle, high) if float(inside) < PROBABILITY else (low, middle)
    return (low + high) / 2


def shrink(z: Tensor, radius: float) -> Tensor:
    """Scale rows (N, D) whose norm exceeds `radius` down to it; other rows stay as they are."""
    norm = z.norm(dim=1, keepdim=True)
    return torch.where(norm > radius, z * (radius / norm), z)


def project_parts(z: Tensor, parts: Sequence[CodePart]) -> Tensor:
    """Project codes (N, D) of independent parts: gaussian, uniform and one_hot."""
    pieces = z.split([part.size for part in parts], dim=1)
    projected = [_project(piece, part) for piece, part in zip(pieces, parts, strict=True)]
    return torch.cat(projected, dim=1)


def _project(z: Tensor, part: CodePart) -> Tensor:
    if part.distribution == "gaussian":
        return shrink(z, typical_radius(part.size))
    if part.distribution == "uniform":
        return z.clamp(-1, 1)
    if part.distribution == "one_hot":
        return torch.zeros_like(z).scatter_(1, z.argmax(1, keepdim=True), 1.0)
    raise ValueError(
        f"a part of a code is {part.distribution!r}, which has no projection of its own: gaussian,"
        " uniform and one_hot have one. Write `project` in the sampler"
    )
