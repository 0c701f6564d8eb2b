"""Metrics with their intervals, and the values of single images from which they are means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.metrics.fid.frechet import GaussianStatistics, fid
from latentlab.metrics.fid.spread import extrapolated_fid, half_sample_fids
from latentlab.metrics.intervals import draws_half_width
from latentlab.metrics.kid import kernel_distance
from latentlab.metrics.prdc import prdc

# Half-samples and the extrapolation take 40 FIDs. One FID of F features takes F³ operations, so
# large features get fewer half-samples and no extrapolation.
LARGE_FEATURES = 512
SPLITS, SPLITS_OF_LARGE = 15, 4
MIN_EXTRAPOLATED = 100  # samples
MAX_KID_IMAGES = 10_000  # of each side: the kernel matrix has so many rows and columns


@dataclass(frozen=True)
class Scores:
    """`metrics` by name. `ci95`: half widths of their 95 % intervals, where there are any.

    `arrays`: the values (N,) from which a metric is the mean, or on which it depends, by name.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    ci95: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)

    def __or__(self, other: Scores) -> Scores:
        return Scores(
            {**self.metrics, **other.metrics},
            {**self.ci95, **other.ci95},
            {**self.arrays, **other.arrays},
        )

    def content(self) -> dict[str, Any]:
        """The metrics, and the half widths under the key `ci95`, as plain data for a JSON file."""
        ci95 = {key: value for key, value in self.ci95.items() if math.isfinite(value)}
        return {**self.metrics, **({"ci95": ci95} if ci95 else {})}


def sample_scores(real: Tensor, draws: Sequence[Tensor], *, seed: int) -> Scores:
    """FID, KID, precision, recall, density and coverage: means over draws of samples.

    `real`: features (N, F) of real images. `draws`: features (M, F) of samples; several draws have
    intervals. That of FID has a second part, the choice of the real images. `fid_infinity` uses the
    samples of all draws. Arrays: `fid_draws`, and `fid_halves` (metrics.fid.spread).
    """
    statistics = GaussianStatistics.of(real)
    rows = [_one_draw(real, statistics, draw) for draw in draws]
    metrics = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    pool = torch.cat(list(draws))
    arrays: dict[str, Tensor] = {}
    large = real.shape[1] > LARGE_FEATURES
    ci95 = {name: draws_half_width([row[name] for row in rows]) for name in metrics}
    if len(draws) > 1:
        splits = SPLITS_OF_LARGE if large else SPLITS
        halves = half_sample_fids(real, pool, splits=splits, seed=seed)
        fids = [row["fid"] for row in rows]
        ci95["fid"] = draws_half_width(fids, other_std=float(halves.std()))
        arrays |= {"fid_halves": halves, "fid_draws": torch.tensor(fids, dtype=torch.float64)}
    if len(draws) > 1 and not large and len(pool) >= MIN_EXTRAPOLATED:
        metrics["fid_infinity"] = extrapolated_fid(real, pool, seed=seed)
    return Scores(metrics, ci95, arrays)


def _one_draw(real: Tensor, statistics: GaussianStatistics, fake: Tensor) -> dict[str, float]:
    few = [check_features(x, name="The features")[:MAX_KID_IMAGES] for x in (real, fake)]
    return {"fid": fid(statistics, fake), "kid": kernel_distance(*few), **prdc(real, fake)}


def class_space_scores(real: Tensor, draws: Sequence[Tensor]) -> Scores:
    """FID in a second feature space, mean over draws: `class_fid`."""
    statistics = GaussianStatistics.of(real)
    values = [fid(statistics, draw) for draw in draws]
    ci95 = {"class_fid": draws_half_width(values)}
    return Scores({"class_fid": sum(values) / len(values)}, ci95)
