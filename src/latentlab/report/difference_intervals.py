"""The difference of two models in one metric, with a 95 % interval where the results allow one.

The first of these that both models have is used:

trainings      several trainings of each model: t interval of the difference of the means. It
               contains the spread over seeds: it is about the two methods.
images         a value for each test image: the differences of the same images are resampled. It is
               about these two trained models, on other images of the same kind.
half-samples   FIDs against the same half-samples of the test images. Their spread estimates the
               error that the choice of the test images causes.
own intervals  the interval of each model, as if their errors were independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latentlab.report.bootstrap import RESAMPLES, paired_interval
from latentlab.report.metrics import Row, Values
from latentlab.report.seeds import half_width
from latentlab.report.student_t import t_quantile

if TYPE_CHECKING:
    import numpy as np

NORMAL = 1.959964  # 97.5 % point of N(0, 1)
RIGHT_OR_WRONG = ("classifier_accuracy", "probe_accuracy")
Interval = tuple[float, float]
Arrays = Mapping[str, "np.ndarray"]


@dataclass(frozen=True)
class Measured:
    """The stored results of one model.

    `row`: its values, means over the trainings. `trainings`: seed → the values of one training; the
    first one is that of `arrays` (per_image.npz: metric → the value of each test image).
    """

    row: Row
    trainings: Mapping[int, Values]
    arrays: Arrays = field(default_factory=dict)

    @property
    def first(self) -> Values:
        return next(iter(self.trainings.values()))


@dataclass(frozen=True)
class Difference:
    """`value`: of a model minus the first one. `interval`: 95 %; None without.

    `over`: one of the words of the module's docstring, empty without an interval. `counts`: how
    many trainings of both models, images or half-samples. `paired`: differences of equal seeds or
    images. `p_value`: of McNemar's exact test, for metrics of right or wrong answers.
    """

    value: float
    interval: Interval | None = None
    over: str = ""
    counts: tuple[int, ...] = ()
    paired: bool = False
    p_value: float | None = None


def difference(key: str, first: Measured, other: Measured) -> Difference:
    """Return `other` minus `first` in a metric that the first training of both has."""
    methods: tuple[Callable[[str, Measured, Measured], Difference | None], ...] = (
        over_trainings, over_images, over_half_samples, over_own_intervals
    )  # fmt: skip
    for method in methods:
        if (found := method(key, first, other)) is not None:
            return found
    return Difference(other.first[key] - first.first[key])


def over_trainings(key: str, first: Measured, other: Measured) -> Difference | None:
    """The t interval over trainings: of the paired differences for equal seeds, else Welch's.

    None if a model has one training, a training without a finite value, or if no training differs.
    Equal seeds give pairs that share the order of the images, and the initial weights if the
    networks are equal.
    """
    a, b = (
        [values.get(key, math.nan) for values in model.trainings.values()]
        for model in (first, other)
    )
    if min(len(a), len(b)) < 2 or not all(map(math.isfinite, (*a, *b))):
        return None
    from statistics import mean  # here, as in the functions below: the import takes 6 ms

    paired = list(first.trainings) == list(other.trainings)
    value = mean(b) - mean(a)
    half = paired_t([y - x for x, y in zip(a, b, strict=True)]) if paired else welch_t(a, b)
    if half == 0:  # a value of the config, or one at the end of its range: no spread is known
        return None
    counts = (len(a), len(b))
    return Difference(value, (value - half, value + half), "trainings", counts, paired)


def paired_t(differences: Sequence[float]) -> float:
    """Half width of the 95 % t interval of the mean of `differences`, two or more."""
    from statistics import stdev

    n = len(differences)
    return t_quantile(n - 1) * stdev(differences) / math.sqrt(n)


def welch_t(a: Sequence[float], b: Sequence[float]) -> float:
    """Half width of the 95 % interval of the difference of the means of two samples.

    Welch 1947: the variances may differ. 0 if neither sample varies.
    """
    from statistics import variance

    va, vb = variance(a) / len(a), variance(b) / len(b)
    if va + vb == 0:
        return 0.0
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return t_quantile(freedom) * math.sqrt(va + vb)


def over_images(key: str, first: Measured, other: Measured) -> Difference | None:
    """The paired bootstrap over the test images that both models have a value of.

    The value is the mean difference on these images. None without values, for NaN or ∞ among them,
    and for fewer than two common images.
    """
    pairs = common(key, first.arrays, other.arrays)
    if pairs is None:
        return None
    a, b = pairs
    gaps = b - a
    p_value = mcnemar(a, b) if key in RIGHT_OR_WRONG else None
    return Difference(
        float(gaps.mean()), paired_interval(gaps), "images", (len(gaps),), True, p_value
    )


def common(name: str, first: Arrays, other: Arrays) -> tuple[np.ndarray, np.ndarray] | None:
    """The values of an array for the images that both have, float64 (N,) in the same order.

    Shorter arrays are of the first test images, or of those that the array `image_index` names.
    """
    if name not in first or name not in other:
        return None
    import numpy as np

    a, b = (np.asarray(arrays[name], dtype=np.float64) for arrays in (first, other))
    rows_a, rows_b = _rows(a, first), _rows(b, other)
    # mostly, both have the same images in order: that is faster than to sort them
    if not (np.array_equal(rows_a, rows_b) and (rows_a[1:] > rows_a[:-1]).all()):
        _, at_a, at_b = np.intersect1d(rows_a, rows_b, return_indices=True)
        a, b = a[at_a], b[at_b]
    if len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    return a, b


def _rows(values: np.ndarray, arrays: Arrays) -> np.ndarray:
    import numpy as np

    rows = arrays.get("image_index")
    return rows if rows is not None and len(rows) == len(values) else np.arange(len(values))


def mcnemar(first: np.ndarray, other: np.ndarray) -> float:
    """Two-sided p value of McNemar's exact test that both are right equally often.

    `first`, `other`: 1 or 0 for the same images (N,). Only images count for which one is right.
    McNemar 1947; the binomial distribution in place of χ² is exact.
    """
    only_first = int(((first > 0.5) & (other < 0.5)).sum())
    only_other = int(((first < 0.5) & (other > 0.5)).sum())
    count = only_first + only_other
    tail, ways = 0, 1  # exact integers: scipy.special would take longer to import than to compute
    for fewer in range(min(only_first, only_other) + 1):
        tail += ways
        ways = ways * (count - fewer) // (fewer + 1)
    return min(1.0, 2 * tail / 2**count)


def over_half_samples(key: str, first: Measured, other: Measured) -> Difference | None:
    """FID: the interval of `fid_half_width`, around the difference of the stored values."""
    half = fid_half_width(first.arrays, other.arrays) if key == "fid" else None
    if half is None:
        return None
    value, count = other.first[key] - first.first[key], len(first.arrays["fid_halves"])
    return Difference(value, (value - half, value + half), "half-samples", (count,), True)


def fid_half_width(first: Arrays, other: Arrays) -> float | None:
    """Half width of the 95 % interval of a difference of two FIDs; None without `fid_halves`.

    1.96 standard deviations of the paired differences over half-samples of the test images. The
    deviation is not divided by √n: half-samples without replacement vary as much as the whole
    sample does (Politis & Romano 1994, subsampling, with half of the images). The draws of samples
    (`fid_draws`) of both models add theirs, as independent errors.
    """
    a, b = first.get("fid_halves"), other.get("fid_halves")
    if a is None or b is None or a.shape != b.shape or len(a) < 2:
        return None
    import numpy as np

    gaps = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    if not np.isfinite(gaps).all():
        return None
    draws = [np.asarray(each.get("fid_draws", ()), np.float64) for each in (first, other)]
    by_draws = sum(float(d.var(ddof=1)) / len(d) for d in draws if len(d) > 1)
    return NORMAL * math.sqrt(float(gaps.var(ddof=1)) + by_draws)


def over_own_intervals(key: str, first: Measured, other: Measured) -> Difference | None:
    """The half widths of both models, added as independent errors."""
    half = independent_half_width(key, first.first, other.first)
    if half is None:
        return None
    value = other.first[key] - first.first[key]
    return Difference(value, (value - half, value + half), "own intervals")


def independent_half_width(key: str, first: Values, other: Values) -> float | None:
    """Half width of the interval of a difference of independent values; None without both."""
    halves = [half_width(values, key) for values in (first, other)]
    half = math.hypot(*(math.nan if each is None else each for each in halves))
    return half if math.isfinite(half) and half > 0 else None


def method_notes(found: Sequence[Difference]) -> list[str]:
    """One sentence for each kind of interval among `found`: what it is and what it is about."""
    used = {(each.over, each.paired) for each in found if each.interval}
    images = sorted({each.counts[0] for each in found if each.over == "images"}, reverse=True)
    counted = " or ".join(f"{n:,}" for n in images)
    notes = {
        ("trainings", True): "trainings: 95 % t interval of the differences of equal seeds."
        " It contains the spread over trainings.",
        ("trainings", False): "trainings: Welch's 95 % t interval. It contains the spread over"
        " trainings.",
        ("images", True): f"images: 95 %, paired bootstrap ({RESAMPLES:,} resamples) over n ="
        f" {counted} test images, with the first training of each model.",
        ("half-samples", True): "half-samples: ± 1.96 standard deviations of the differences of the"
        " FIDs against the same halves of the test images, and of the draws of samples, with the"
        " first training of each model.",
        ("own intervals", False): "own intervals: the 95 % intervals of both models, as independent"
        " errors. With errors in common, as of the same real images, the true interval is shorter.",
    }
    return [text for kind, text in notes.items() if kind in used]
