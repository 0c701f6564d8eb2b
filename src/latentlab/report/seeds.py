"""Several trainings of one model: mean, standard deviation and number for each metric.

The standard deviation is that of single trainings (n − 1), not the error of their mean. It says how
much another training with another seed differs. It does not say how sure one measurement is: that
is the interval of a single training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from latentlab.config.seeds import Training
from latentlab.report.metrics import BY_KEY, COUNT, Metric, Row, Values, text_of

CONFIGURED = ("latent_dim", "num_labels", "num_parameters")  # equal for all seeds, not measured
DEPENDENT = ("_std", "_low", "_high")  # ends of keys that belong to the value of one training


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n − 1) of a metric over `n` ≥ 2 trainings."""

    mean: float
    std: float
    n: int


def spreads(trainings: Sequence[Values]) -> dict[str, Spread]:
    """Return metric → spread over the trainings, for all metrics that each of them has.

    NaN or ∞ in one training makes mean and deviation NaN: a training that has failed is not left
    out. Empty for fewer than two trainings.
    """
    if len(trainings) < 2:
        return {}
    shared = [key for key in trainings[0] if all(key in values for values in trainings)]
    keys = [key for key in shared if not key.endswith(DEPENDENT)]
    return {key: _spread([values[key] for values in trainings]) for key in keys}


def _spread(values: Sequence[float]) -> Spread:
    if not all(map(math.isfinite, values)):
        return Spread(math.nan, math.nan, len(values))
    import statistics  # most projects have one training of each model

    return Spread(statistics.mean(values), statistics.stdev(values), len(values))


def averaged(first: Row, others: Sequence[Row]) -> Row:
    """Return the row of a model: with several trainings, means and deviations as `<key>_std`.

    A metric that is equal in all trainings has the deviation 0; a value of the config, such as the
    number of parameters, has none. COUNT is the number of trainings.
    """
    found = spreads([row.values for row in (first, *others)])
    values: Values = {key: spread.mean for key, spread in found.items()} or dict(first.values)
    measured = BY_KEY.keys() - {*CONFIGURED, COUNT}
    values |= {
        f"{key}_std": spread.std
        for key, spread in found.items()
        if spread.std != 0 or key in measured
    }
    return replace(first, values=values | {COUNT: 1 + len(others)})


def same_settings(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True if two model cards are of trainings that differ by the seed only.

    After a change of a config, the results of some seeds can be from before it.
    """

    def settings(card: Mapping[str, Any]) -> dict[str, Any]:
        config = card.get("config") or {}
        own = {key: value for key, value in config.items() if key != "seed"}
        return {"config": own, **{key: card.get(key) for key in ("features", "reference")}}

    return settings(first) == settings(other)


def trainings_of(model: str, seeds: Sequence[int]) -> list[Training]:
    """Return the trainings of a model after the first, by `more_seeds` of params.yaml.

    `model` may also be one training, such as `vae@1`, which has no others.
    """
    if Training.parse(model).seed is not None:
        return []
    return [Training(model, seed) for seed in seeds]


def interval_of(values: Values, key: str) -> tuple[float, float] | None:
    """The ends of the interval of a value; None without one.

    Of one training its 95 % interval, `<key>_low` and `<key>_high`. Of several trainings the mean ±
    the standard deviation, `<key>_std`.
    """
    low, high = values.get(f"{key}_low", math.nan), values.get(f"{key}_high", math.nan)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    value, spread = values.get(key, math.nan), values.get(f"{key}_std", math.nan)
    if math.isfinite(value) and math.isfinite(spread):
        return value - spread, value + spread
    return None


def half_width(values: Values, key: str) -> float | None:
    """Half of `interval_of`: what stands after ± of a value; None for nothing."""
    interval = interval_of(values, key)
    return None if interval is None else (interval[1] - interval[0]) / 2


def text_with_spread(row: Row, metric: Metric, decimals: int) -> str:
    """The value of a row as text, with its `half_width`."""
    text = text_of(metric, row.values.get(metric.key), decimals)
    half = half_width(row.values, metric.key)
    return text if half is None else f"{text} ± {text_of(metric, half, decimals)}"


def spread_note(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """What ± means in a table of these rows and metrics; empty without any."""
    counts = {
        row.values.get(COUNT, 1) > 1
        for row in rows
        for key in keys
        if key in row.values and half_width(row.values, key) is not None
    }
    several = "the standard deviation of one training, over n trainings with different seeds"
    one = "half of the 95 % interval"
    if counts == {True, False}:
        return f"± with n > 1: {several}; other ±: {one}"
    return f"± is {several if True in counts else one}" if counts else ""
