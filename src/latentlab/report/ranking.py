"""Which model is best: intervals, ties, and baselines that a model does not reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.difference_intervals import independent_half_width
from latentlab.report.metrics import BY_KEY, Metric, Row, best_of, decimals_of, text_of
from latentlab.report.seeds import interval_of
from latentlab.report.ties import tied

COPYING = "copies training images"  # the warning of the diagnostic novelty
SAMPLE_KEYS = ("fid", "kid", "precision", "recall", "density", "coverage")


def better(metric: Metric, first: float, second: float) -> bool:
    """True if `first` is better than `second`."""
    return metric.better * (first - second) > 0


def beaten_by(model: ModelResults, metric: Metric, comparison: Comparison) -> Row | None:
    """The weakest baseline that is better than the model in this metric; None if none is.

    Baselines are PCA with codes of the same size (for a model without an encoder: of the nearest
    smaller size), raw pixels and noise. Real images are a bound and not a baseline. A difference
    that is not visible in the printed digits does not count, nor one within its 95 % interval, as
    if the errors of both values were independent.
    """
    value = model.row.values.get(metric.key, math.nan)
    if not metric.better or not math.isfinite(value):
        return None
    decimals = decimals_of(metric, comparison.rows)
    stronger = [
        row
        for row in baselines_of(model, comparison)
        if better(metric, row.values.get(metric.key, math.nan), value)
        and text_of(metric, row.values[metric.key], decimals) != text_of(metric, value, decimals)
        and abs(row.values[metric.key] - value)
        > (independent_half_width(metric.key, model.row.values, row.values) or 0.0)
    ]
    return min(stronger, key=lambda row: metric.better * row.values[metric.key], default=None)


def baselines_of(model: ModelResults, comparison: Comparison) -> list[Row]:
    """The rows that a model is compared with, without real images."""
    pca = model.pca.name if model.pca else _nearest_pca(model, comparison)
    return [row for row in comparison.baselines if row.name in ("pixels", "noise", pca)]


def _nearest_pca(model: ModelResults, comparison: Comparison) -> str:
    """The PCA with the largest codes that are not larger than those of the model; or none."""
    size = model.row.values.get("latent_dim", 0)
    sizes = {
        row.values["latent_dim"]: row.name
        for row in comparison.baselines
        if row.name.startswith("PCA") and row.values.get("latent_dim", math.inf) <= size
    }
    return sizes[max(sizes)] if sizes else ""


@dataclass(frozen=True)
class Headline:
    """The best model of one metric. `others`: models that are equal within digits or intervals."""

    key: str
    title: str
    best: ModelResults
    value: str
    baseline: str
    others: list[ModelResults]


HEADLINES = (  # metric, title, the row to compare with
    ("fid", "Best samples", "real"),
    ("reconstruction_mse", "Best reconstructions", "PCA"),
    ("probe_accuracy", "Best features", "pixels"),
)


def headlines(comparison: Comparison) -> list[Headline]:
    """The best models of three metrics.

    A model that a baseline beats is left out. So is a model whose samples are copies of training
    images, and a metric that cannot be trusted on these data. So is a model with a code as large as
    the image, in reconstruction and features: copying the image is no achievement.
    """
    found = []
    for key, title, reference in HEADLINES:
        metric = BY_KEY[key]
        models = [model for model in comparison.models if eligible(model, metric, comparison)]
        if not models:
            continue
        best = min(models, key=lambda model: -metric.better * model.row.values[key])
        found.append(
            Headline(
                key,
                title,
                best,
                formatted(best.row, metric, comparison),
                _reference(best, metric, comparison, reference),
                [m for m in models if m is not best and _tie(m, best, metric, comparison)],
            )
        )
    return found


def eligible(model: ModelResults, metric: Metric, comparison: Comparison) -> bool:
    """True if the model may stand in a headline about this metric."""
    if not math.isfinite(model.row.values.get(metric.key, math.nan)):
        return False
    if metric.key in comparison.unreliable:
        return False
    if metric.key in SAMPLE_KEYS and COPYING in model.warnings:
        return False
    shape = comparison.dataset.get("image_shape") or [math.inf]
    copies = model.row.values.get("latent_dim", 0) >= math.prod(shape)
    if copies and metric.key not in SAMPLE_KEYS:
        return False
    return beaten_by(model, metric, comparison) is None


def formatted(row: Row, metric: Metric, comparison: Comparison) -> str:
    """The value of a row in the digits of its column."""
    return text_of(metric, row.values.get(metric.key), decimals_of(metric, comparison.rows))


def best_names(metric: Metric, comparison: Comparison) -> set[str]:
    """The model with the best value, and all that tie with it.

    A positive value whose interval reaches 0 does not tie where higher is better: it says nothing.
    Empty for fewer than two models, for a metric without a direction, and for one that cannot be
    trusted on these data.
    """
    best = best_of(metric, comparison.rows)
    if best is None or metric.key in comparison.unreliable:
        return set()
    first = next(m for m in comparison.models if m.row.values.get(metric.key) == best)
    having = (m for m in comparison.models if math.isfinite(m.row.values.get(metric.key, math.nan)))
    return {
        m.row.name
        for m in having
        if m is first or (_says_something(m, metric) and _tie(m, first, metric, comparison))
    }


def _says_something(model: ModelResults, metric: Metric) -> bool:
    """False for a value of 0.24 ± 0.62 where higher is better: one draw of the samples decides."""
    interval, value = interval_of(model.row.values, metric.key), model.row.values[metric.key]
    return metric.better < 0 or interval is None or not interval[0] <= 0 < value


def _tie(model: ModelResults, best: ModelResults, metric: Metric, comparison: Comparison) -> bool:
    same = formatted(model.row, metric, comparison) == formatted(best.row, metric, comparison)
    return same or tied(metric, model, best)


def _reference(model: ModelResults, metric: Metric, comparison: Comparison, reference: str) -> str:
    """The value of a baseline as text, such as “real images 1.6”; empty if it is not measured."""
    rows = comparison.baselines if reference == "real" else baselines_of(model, comparison)
    for row in rows:
        if row.name.startswith(reference) and metric.key in row.values:
            return f"{lower(row.title)} {formatted(row, metric, comparison)}"
    return ""


def lower(title: str) -> str:
    """The title of a baseline inside a sentence."""
    return title if title.startswith("PCA") else title.lower()
