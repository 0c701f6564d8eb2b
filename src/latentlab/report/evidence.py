"""Can the metrics of samples be trusted on these data? The section of the page that answers it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from latentlab.report.comparison import Comparison
from latentlab.report.metrics import BY_KEY

MIN_MODELS = 4  # below, a rank correlation says nothing
SPACES = {
    "fid": "second block of the classifier",
    "class_fid": "last layer of the classifier",
    "random_fid": "untrained network",
    "pixel_fid": "pixels",
}
LEVELS = {  # what the number of a level means
    "blur": "{:.1%} of the side",
    "noise": "σ = {:.2g}",
    "shift": "{:.0%} of the side",
    "classes dropped": "{:.0%} of the classes",
    "few images repeated": "{:.0%} replaced",
    "noise images mixed in": "{:.0%} of the images",
}


def evidence_of(comparison: Comparison) -> dict[str, Any] | None:
    """The content of the section as plain data; None without evidence.json.

    Keys: `sentences`; `columns` and `table`, a row for each kind of damage; `agreement`, rows of
    (two feature spaces, rank correlation).
    """
    evidence = comparison.evidence
    if not evidence:
        return None
    return {
        "sentences": sentences_of(evidence),
        "columns": ["Damage", "FID, growing", "FID rises", "KID rises", "FID sees it from"],
        "table": [_row(name, each) for name, each in evidence["damages"].items()],
        "agreement": agreement_of(comparison),
    }


def sentences_of(evidence: Mapping[str, Any]) -> list[str]:
    """The metrics that cannot be trusted, then noise, real images and dimension."""
    broken = [
        f"{BY_KEY[key].label} cannot be trusted on these data: {reason}."
        for key, reason in evidence.get("unreliable", {}).items()
        if key in BY_KEY
    ]
    noise = ", ".join(
        f"{name} {each['precision']:.2f} and {each['density']:.2f}"
        for name, each in evidence["noise"].items()
    )
    low, high = evidence["floor_fid"]
    dimension = evidence["effective_dimension"]
    return [
        *broken,
        f"Damaged training images are compared with {evidence['num_images']:,} validation images."
        f" Undamaged ones have an FID from {low:.1f} to {high:.1f}.",
        f"Precision and density of noise, which should be near 0: {noise}.",
        f"Effective dimension of the features: {dimension:.1f}"
        + (
            " (8 or more: they are not only class codes)." if dimension >= 8 else " (below 8: low)."
        ),
    ]


def _row(name: str, damage: Mapping[str, Any]) -> list[str]:
    first = damage["first_seen"]
    return [
        name,
        " · ".join(f"{value:,.{1 if value < 100 else 0}f}" for value in damage["fid"]),
        *("yes" if damage["rises"][key] else "no" for key in ("fid", "kid")),
        "none of these" if first is None else LEVELS.get(name, "{:.3g}").format(first),
    ]


def agreement_of(comparison: Comparison) -> list[list[str]]:
    """Spearman's rank correlation of the models' FIDs, for each pair of feature spaces."""
    rows = []
    for first, second in combinations(SPACES, 2):
        pairs = [
            (model.row.values[first], model.row.values[second])
            for model in comparison.models
            if {first, second} <= set(model.row.values)
        ]
        if len(pairs) >= MIN_MODELS:
            rho = rank_correlation(*zip(*pairs, strict=True))
            rows.append([f"{SPACES[first]}, {SPACES[second]}", f"{rho:.2f}".replace("-", "−")])
    return rows


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's ρ: the correlation of the ranks; equal values share their mean rank."""
    a, b = (_ranks(np.asarray(values, np.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
