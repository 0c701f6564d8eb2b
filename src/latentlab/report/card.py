"""The content of a model card, for the template."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from markupsafe import Markup

from latentlab.evaluation.results import StoredResult
from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.equations import MODELS, note_of
from latentlab.report.few_images import few_text
from latentlab.report.metrics import Metric, Row
from latentlab.report.pictures import Pictures
from latentlab.report.stored_results import View, own_metrics, result_view
from latentlab.report.view import cell, columns_of
from latentlab.report.words import link_of

PRINTED = (
    "fid",
    "recall",
    "reconstruction_mse",
    "ssim",
    "probe_accuracy",
    "train_seconds",
)  # metrics of a printed card


def card_of(model: ModelResults, comparison: Comparison, pictures: Pictures) -> View:
    """The content of a model card."""
    row, card = model.row, model.card
    config = card.get("config") or {}
    settings = config.get("model")
    class_path = str(settings.get("class_path") or "") if isinstance(settings, dict) else ""
    summary = str(card.get("summary") or "")
    rows = [row, *_compared_with(model, comparison)]
    return {
        "name": row.name,
        "title": row.title,
        "family": row.family,
        "summary": _sentence(summary),
        "warnings": model.warnings,
        "note": _note(class_path, row.name, settings),
        "objective": textwrap.dedent(str(card.get("objective") or "")).strip("\n"),
        "papers": [{"text": str(t), "link": link_of(str(t))} for t in card.get("papers") or []],
        "differs": [_sentence(str(t)) for t in card.get("differs_from_the_paper") or []],
        "labels": _uses_of_labels(card, comparison),
        "about": _about(model),
        "code": _code(model, class_path),
        "columns": [each.title if each is not row else "This model" for each in rows],
        "metrics": _metrics(rows, comparison),
        "other": own_metrics(model),
        "diagnostics": [result_of(each, row.name, pictures) for each in model.diagnostics],
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _note(class_path: str, config: str, settings: Any) -> View | None:
    arguments = settings.get("init_args") if isinstance(settings, dict) else None
    note = note_of(class_path, config, arguments if isinstance(arguments, dict) else None)
    if note is None:
        return None
    return {"objective": [Markup(m) for m in note.objective], "see": note.see, "why": note.why}


def _uses_of_labels(card: Mapping[str, Any], comparison: Comparison) -> list[str]:
    """What the model uses labels for; empty for data without labels."""
    if not comparison.dataset.get("classes"):
        return []
    return [str(text) for text in card.get("uses_labels_for") or ["nothing"]]


def _about(model: ModelResults) -> list[tuple[str, str]]:
    card, total = model.card, model.card.get("images_seen")
    about = {
        "Sampler": card.get("sampler"),
        "Training": f"{total:,} images" if isinstance(total, int) else None,
        "Device": card.get("device"),
    }
    return [(term, str(value)) for term, value in about.items() if value]


def _code(model: ModelResults, class_path: str) -> list[tuple[str, str]]:
    """Lines to copy: load the model; its source, weights and MLflow run."""
    name = model.row.name
    lines = [("Load", f'latentlab.load("{name}")')]
    if class_path:
        module = class_path.rpartition(".")[0].replace(".", "/")
        source = f"src/{module}.py" if class_path.startswith(MODELS) else f"{module}.py"
        lines.append(("Source", source))
    lines.append(("Weights", f"runs/{name}/weights.pt"))
    if run := model.provenance.get("mlflow_run_id"):
        lines.append(("MLflow run", str(run)))
    return lines


def _compared_with(model: ModelResults, comparison: Comparison) -> list[Row]:
    """PCA with codes of the same size, if the model has an encoder, and real images."""
    names = ["real"] if model.pca is None else [model.pca.name, "real"]
    return [row for name in names for row in comparison.baselines if row.name == name]


def _metrics(rows: Sequence[Row], comparison: Comparison) -> list[tuple[str, list[View]]]:
    """Groups of lines: the name of a metric, and its value for each row."""
    groups = []
    for group, metrics in groups_of(columns_of(comparison)):
        lines = [
            {
                "label": metric.label,
                "main": metric.key in PRINTED,
                "cells": [_with_spread(row, metric, comparison) for row in rows],
            }
            for metric in metrics
            if not metric.optional or metric.key in rows[0].values
        ]
        groups.append((group, lines))
    return groups


def _with_spread(row: Row, metric: Metric, comparison: Comparison) -> tuple[str, str]:
    """The text of a cell and that of its tooltip."""
    if metric.key not in row.values:
        return "–", ""
    view = cell(row, metric, comparison)
    text = f"{view['t']} ± {view['spread']}" if "spread" in view else str(view["t"])
    return text, few_text(view.get("few"))


def result_of(result: StoredResult, place: str, pictures: Pictures) -> View:
    return result_view(result, pictures) | {"id": f"{place}-{result.name}"}


def groups_of(metrics: Iterable[Metric]) -> list[tuple[str, list[Metric]]]:
    groups: dict[str, list[Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.group, []).append(metric)
    return list(groups.items())
