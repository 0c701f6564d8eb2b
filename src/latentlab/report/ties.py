"""Which models are equally good: 95 % intervals of the difference of two models, paired.

Models with several trainings are compared by the t interval over them, as `latentlab compare` does.
Otherwise metrics of images are compared on the same test images, FID on the same halves of them.
Where none of this can be had, models tie if their intervals overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from latentlab.config.seeds import Training
from latentlab.report.difference_intervals import (
    NORMAL,
    Measured,
    common,
    fid_half_width,
    over_trainings,
)
from latentlab.report.metrics import METRICS, Metric
from latentlab.report.seeds import interval_of

if TYPE_CHECKING:
    import numpy as np

    from latentlab.report.comparison import Comparison, ModelResults

MIN_IMAGES = 30  # below, a mean of differences is not taken for Gaussian
FIRST_SEED = -1

Arrays = Mapping[str, "np.ndarray"]


def measured(model: ModelResults) -> Measured:
    """The values of all trainings of a model, by seed, and those of single test images.

    FIRST_SEED stands for the seed of the first training, which all models share.
    """
    trainings = {}
    for name, row in model.trainings.items():
        seed = Training.parse(name).seed
        trainings[FIRST_SEED if seed is None else seed] = row.values
    return Measured(model.row, trainings, model.arrays)


def paired_difference(key: str, first: Arrays, second: Arrays) -> tuple[float, float] | None:
    """Difference of two models on common images, and half its 95 % interval; None if not paired.

    The interval is that of a Gaussian: resampling all pairs of models would take seconds.
    """
    pairs = common(key, first, second)
    if pairs is None or len(pairs[0]) < MIN_IMAGES:
        return None
    gaps = pairs[1] - pairs[0]
    return float(gaps.mean()), NORMAL * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))


def tied(metric: Metric, first: ModelResults, second: ModelResults) -> bool:
    """True if the difference of two models in this metric is within its 95 % interval."""
    key = metric.key
    a, b = (interval_of(each.row.values, key) for each in (first, second))
    overlap = bool(a and b and a[0] <= b[1] and b[0] <= a[1])
    if max(len(first.trainings), len(second.trainings)) > 1:
        gap = over_trainings(key, measured(first), measured(second))
        return gap.interval[0] <= 0 <= gap.interval[1] if gap and gap.interval else overlap
    half = fid_half_width(first.arrays, second.arrays) if key == "fid" else None
    if half is not None:
        return abs(first.row.values[key] - second.row.values[key]) <= half
    paired = paired_difference(key, first.arrays, second.arrays) if key != "fid" else None
    return abs(paired[0]) <= paired[1] if paired else overlap


def ties_of(comparison: Comparison) -> dict[str, dict[str, list[str]]]:
    """Metric → model → the other models that tie with it."""
    found: dict[str, dict[str, list[str]]] = {}
    for metric in METRICS:
        if not metric.better:
            continue
        models = [
            m for m in comparison.models if math.isfinite(m.row.values.get(metric.key, math.nan))
        ]
        pairs: dict[str, list[str]] = {}
        for index, first in enumerate(models):
            for second in models[index + 1 :]:
                if tied(metric, first, second):
                    pairs.setdefault(first.row.name, []).append(second.row.name)
                    pairs.setdefault(second.row.name, []).append(first.row.name)
        if pairs:
            found[metric.key] = pairs
    return found
