"""A diagnostic or a task as plain data for the template: numbers as text, figures as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentlab.evaluation.results import StoredResult
from latentlab.report.comparison import ModelResults
from latentlab.report.metrics import BY_KEY
from latentlab.report.pictures import Pictures, picture
from latentlab.report.words import words_of

View = dict[str, Any]


def result_view(result: StoredResult, pictures: Pictures) -> View:
    """A diagnostic or a task. Metrics that the table has already are left out."""
    in_table = {value for row in result.table.values() for value in row.values()}
    columns = list(dict.fromkeys(key for row in result.table.values() for key in row))
    decimals = {
        key: _decimals([row[key] for row in result.table.values() if key in row]) for key in columns
    }
    return {
        "name": result.name,
        "title": result.title,
        "summary": result.summary,
        "warnings": list(result.warnings),
        "columns": [words_of(key) for key in columns],
        "table": [
            [
                words_of(name) if "_" in name else name,
                *(_fixed(row.get(key), decimals[key]) for key in columns),
            ]
            for name, row in result.table.items()
        ],
        "metrics": [
            [words_of(key), _fixed(value, _decimals([value]))]
            for key, value in result.metrics.items()
            if value not in in_table
        ],
        "figures": [
            figure
            for caption, path in result.figures
            if (figure := _figure(caption, path, pictures))
        ],
    }


def _figure(caption: str, path: Path, pictures: Pictures) -> View | None:
    found = picture(path)
    if found is None:
        return None
    name = pictures.add(found.webp)
    view = {"caption": caption, "src": name, "w": found.width, "h": found.height}
    return view | {"pixelated": found.pixelated}


def own_metrics(model: ModelResults) -> list[tuple[str, str]]:
    """(name, text) of the values that are no column: terms of the loss and others."""
    known = set(BY_KEY) | {f"{key}{end}" for key in BY_KEY for end in ("_low", "_high", "_std")}
    return [
        (words_of(key, split=True), _fixed(value, _decimals([value])))
        for key, value in model.row.values.items()
        if key not in known
    ]


def _decimals(values: Sequence[float]) -> int:
    """Digits after the point for a column: four significant digits of its median."""
    sizes = sorted(abs(v) for v in values if v and math.isfinite(v))
    if all(v == int(v) for v in sizes):
        return 0
    return min(6, max(0, 3 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def _fixed(value: float | None, decimals: int) -> str:
    """`decimals` digits after the point; scientific notation for a value that would become 0."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value + 0.0:,.{decimals}f}"  # −0 + 0 is 0
    if value and not text.strip("-0.,"):
        text = f"{value:.1e}"
    return text.replace("-", "−")
