"""The differences of all pairs of models, for the page: those that `latentlab compare` prints.

The intervals of difference_intervals.py; the bootstrap of all pairs and metrics is one product of
matrices for each number of images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from latentlab.report.bootstrap import paired_intervals
from latentlab.report.comparison import Comparison
from latentlab.report.difference_intervals import (
    Difference,
    Measured,
    common,
    difference,
    over_trainings,
)
from latentlab.report.metrics import COST, METRICS, Metric, decimals_of
from latentlab.report.ties import measured

MAX_MODELS = 20  # of more, the page has no intervals of differences
MAX_BYTES = 2**26  # of the values that are resampled at a time
METHODS = ("trainings", "images", "half-samples", "own intervals")
Pair = tuple[str, int]  # metric, number of the pair


def pairs_of(comparison: Comparison) -> dict[str, list[Any]]:
    """Metric → an entry for each pair of models, (0, 1), (0, 2) … (1, 2) …: second minus first.

    An entry is [difference, low, high, index of METHODS, number of common images], in the unit and
    the digits of the table, the last only of images; [difference] without an interval; 0 if the
    difference is that of the two rows. A metric with zeros only is left out.
    """
    if len(comparison.models) > MAX_MODELS:
        return {}
    models = [measured(model) for model in comparison.models]
    found = differences_of(models)
    entries: dict[str, list[Any]] = {}
    for metric in METRICS:
        decimals = decimals_of(metric, comparison.rows)
        numbered = enumerate(combinations(models, 2))
        listed = [
            _entry(found.get((metric.key, index)), metric, decimals, pair)
            for index, pair in numbered
        ]
        if any(listed):
            entries[metric.key] = listed
    return entries


def differences_of(models: Sequence[Measured]) -> dict[Pair, Difference]:
    """(metric, number of the pair) → what `difference` returns, for all pairs that have one."""
    found: dict[Pair, Difference] = {}
    gaps: dict[int, dict[Pair, np.ndarray]] = {}  # number of images → pair → differences of images
    for metric in METRICS:
        key = metric.key
        if not metric.better and metric.group != COST:
            continue
        for index, (first, other) in enumerate(combinations(models, 2)):
            if not all(key in values for m in (first, other) for values in (m.first, m.row.values)):
                continue
            if (by_trainings := over_trainings(key, first, other)) is not None:
                found[key, index] = by_trainings
            elif (images := common(key, first.arrays, other.arrays)) is not None:
                of_size = gaps.setdefault(len(images[0]), {})
                of_size[key, index] = images[1] - images[0]
                if len(of_size) * len(images[0]) * 8 > MAX_BYTES:
                    found.update(_resampled(of_size))
                    of_size.clear()
            else:
                found[key, index] = difference(key, first, other)
    for of_size in gaps.values():
        found.update(_resampled(of_size))
    return found


def _resampled(gaps: dict[Pair, np.ndarray]) -> Iterator[tuple[Pair, Difference]]:
    """The intervals of `paired_interval`, of differences of equally many images."""
    if not gaps:
        return
    stacked = np.stack(list(gaps.values()), 1)
    low, high = paired_intervals(stacked)
    for column, (pair, values) in enumerate(gaps.items()):
        interval = float(low[column]), float(high[column])
        yield pair, Difference(float(values.mean()), interval, "images", (len(values),), True)


def _entry(
    found: Difference | None, metric: Metric, decimals: int, pair: tuple[Measured, Measured]
) -> list[int | float] | int:
    if found is None or not math.isfinite(found.value):
        return 0
    if found.interval is None:
        first, other = (model.row.values[metric.key] for model in pair)
        same = math.isclose(found.value, other - first, rel_tol=1e-9, abs_tol=1e-12)
        return 0 if same else [_printed(found.value, metric, decimals)]
    numbers = [_printed(v, metric, decimals) for v in (found.value, *found.interval)]
    count = found.counts[:1] if found.over == "images" else ()
    return [*numbers, METHODS.index(found.over), *count]


def _printed(value: float, metric: Metric, decimals: int) -> int | float:
    """The number that is printed."""
    number = float(f"{value * metric.factor:.{decimals}f}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
