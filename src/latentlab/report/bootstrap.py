"""Bootstrap over test images: Efron & Tibshirani 1993, "An introduction to the bootstrap"."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # models with several trainings are compared without NumPy
    import numpy as np

RESAMPLES = 2000
CHUNK = 100  # resamples in memory at a time
MAX_KEPT = 10_000  # images whose resamples stay in memory for the next metric: at most 80 MB
ENDS = (0.025, 0.975)  # percentiles of a 95 % interval


def paired_interval(differences: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of `differences` (N,): percentiles of `RESAMPLES` bootstrap means.

    Chapter 13 of the book.
    """
    import numpy as np

    size = len(differences)
    chosen = _kept(size, seed) if size <= MAX_KEPT else _resamples(size, seed)
    means = np.concatenate([differences[chunk].mean(1) for chunk in chosen])
    low, high = _ends(means)
    return float(low), float(high)


def paired_intervals(differences: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Ends of `paired_interval` of each column, (N, K) → (2, K): one product, not K resamplings."""
    import numpy as np

    size = len(differences)
    offsets = np.arange(CHUNK)[:, None] * size
    counts = (  # how often each image is in each resample
        np.bincount((chunk + offsets).ravel(), minlength=CHUNK * size).reshape(CHUNK, size)
        for chunk in _resamples(size, seed)
    )
    means = np.concatenate([each.astype(np.float64) @ differences for each in counts]) / size
    return _ends(means)


def _ends(means: np.ndarray) -> np.ndarray:
    """The percentiles `ENDS` of (RESAMPLES, …), interpolated: (2, …).

    As np.quantile, which imports 30 modules: a tenth of the time of `latentlab compare`.
    """
    import numpy as np

    ordered = np.sort(means, axis=0)
    places = [end * (len(means) - 1) for end in ENDS]
    below = [int(place) for place in places]
    parts = [place - start for place, start in zip(places, below, strict=True)]
    return np.stack([
        ordered[i] + part * (ordered[i + 1] - ordered[i])
        for i, part in zip(below, parts, strict=True)
    ])  # fmt: skip


def _resamples(size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the indices of the resamples, CHUNK of them at a time: integers (CHUNK, size)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    for _ in range(RESAMPLES // CHUNK):
        yield generator.integers(size, size=(CHUNK, size))


@lru_cache(maxsize=1)
def _kept(size: int, seed: int) -> list[np.ndarray]:
    """The same indices for all metrics of the same images, in half of the memory."""
    import numpy as np

    return [chunk.astype(np.int32) for chunk in _resamples(size, seed)]
