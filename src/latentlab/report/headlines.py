"""The headlines of the page: the best model of each kind, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable

from latentlab.config.goals import GOALS
from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.metrics import BY_KEY, Metric
from latentlab.report.ranking import HEADLINES, Headline, baselines_of, beaten_by, better
from latentlab.report.ranking import headlines as best_models
from latentlab.report.stored_results import View

SAMPLES, RECONSTRUCTIONS = "samples", "reconstructions"
SUBJECTS = {"fid": SAMPLES, "reconstruction_mse": RECONSTRUCTIONS}  # of a headline
ABOUT = {  # diagnostic → what its warnings are about; those of others concern all headlines
    "class_conditioning": SAMPLES,
    "gan_training": SAMPLES,
    "novelty": SAMPLES,
    "reconstruction_faults": RECONSTRUCTIONS,
}


def headlines_of(comparison: Comparison) -> list[View]:
    """The headlines as plain data, that of the project's goal first.

    One without a model has `none`, the reason. A metric that no model has gets no headline.
    """
    found = {each.key: each for each in best_models(comparison)}
    columns = GOALS[comparison.goal].columns if comparison.goal in GOALS else ()
    views = []
    for key, title, _ in sorted(HEADLINES, key=lambda each: each[0] not in columns):
        if key in found:
            views.append(_view(found[key]))
        elif reason := _why_none(BY_KEY[key], comparison):
            views.append({"title": title, "key": key, "none": reason})
    return views


def _view(each: Headline) -> View:
    return {
        "title": each.title,
        "key": each.key,
        "none": "",
        "name": each.best.row.name,
        "model": each.best.row.title,
        "warnings": _warnings(each.best, SUBJECTS.get(each.key, "")),
        "label": BY_KEY[each.key].label,
        "value": each.value,
        "baseline": each.baseline,
        "others": [model.row.title for model in each.others],
    }


def _why_none(metric: Metric, comparison: Comparison) -> str:
    """Why no model is best; empty if no model has the metric."""
    key = metric.key
    models = [m for m in comparison.models if math.isfinite(m.row.values.get(key, math.nan))]
    if not models:
        return ""
    if key in comparison.unreliable:
        return f"{metric.label} cannot be trusted on these data"
    beaten = {model.row.name: beaten_by(model, metric, comparison) for model in models}
    if not all(beaten.values()):
        return "the models that no baseline beats copy images"
    for row in comparison.baselines:
        if all(_beats(row.name, model, metric, comparison) for model in models):
            return f"{row.title} {'are' if row.name == 'pixels' else 'is'} better than every model"
    return "each model is worse than a baseline"


def _beats(name: str, model: ModelResults, metric: Metric, comparison: Comparison) -> bool:
    """True if a baseline of the model has this name and a better value."""
    key = metric.key
    return any(
        row.name == name and better(metric, row.values.get(key, math.nan), model.row.values[key])
        for row in baselines_of(model, comparison)
    )


def _warnings(model: ModelResults, subject: str) -> list[View]:
    """The flags of a headline. `about`: what a warning is about, if it is not its subject."""
    flags: list[View] = []
    for result in model.diagnostics:
        about = ABOUT.get(result.name, subject)
        other = f"about its {about}" if about != subject else ""
        flags += [each | {"about": other} for each in flags_of(result.warnings)]
    return flags


def flags_of(warnings: Iterable[str]) -> list[View]:
    """Short labels, each with its sentences: “mode collapse: 4 of 10 classes” → “mode collapse”."""
    labels: dict[str, list[str]] = {}
    for text in warnings:
        labels.setdefault(text.partition(":")[0], []).append(text)
    return [
        {"label": label, "text": "; ".join(texts), "about": ""} for label, texts in labels.items()
    ]
