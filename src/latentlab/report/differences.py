"""Models side by side: their metrics, the differences to the first one, and those of their configs.

The intervals of the differences are those of difference_intervals.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latentlab.report.difference_intervals import Difference, Measured, difference, method_notes
from latentlab.report.metrics import COST, METRICS, Metric, decimals_of, text_of
from latentlab.report.seeds import spread_note, text_with_spread

ARROW = {1: " ↑", -1: " ↓", 0: ""}
NO_INTERVAL = (
    "No interval: a metric that was measured once for a whole set of images, or a cost, with one"
    " training of a model."
)


@dataclass(frozen=True)
class MetricRow:
    """One metric. `texts`: of each model. `differences`: by model, not of the first."""

    metric: Metric
    values: Mapping[str, float]
    texts: Mapping[str, str]
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class SideBySide:
    """`config`: key → values in the order of `names`; only keys whose values differ."""

    names: Sequence[str]
    rows: Sequence[MetricRow]
    config: Mapping[str, Sequence[Any]]
    digits: Mapping[str, int]
    notes: Sequence[str] = field(default_factory=tuple)


def side_by_side(
    models: Sequence[Measured], configs: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()
) -> SideBySide:
    """Compare models with the first one. `notes`: what else the reader has to know."""
    rows = [model.row for model in models]
    shown = [m for m in METRICS if any(m.key in row.values for row in rows)]
    digits = {metric.key: decimals_of(metric, rows) for metric in shown}
    found = [_metric_row(metric, models, digits[metric.key]) for metric in shown]
    spread = spread_note(rows, [metric.key for metric in shown])
    all_notes = [*([f"{spread}."] if spread else []), *_notes(found), *notes]
    return SideBySide(
        [row.name for row in rows], found, config_differences(configs), digits, all_notes
    )


def _metric_row(metric: Metric, models: Sequence[Measured], digits: int) -> MetricRow:
    having = {model.row.name: model for model in models if metric.key in model.row.values}
    values = {name: model.row.values[metric.key] for name, model in having.items()}
    texts = {name: text_with_spread(model.row, metric, digits) for name, model in having.items()}
    first = models[0]
    # likelihoods of different kinds have different units
    comparable = (metric.better or metric.group == COST) and metric.key in first.first
    return MetricRow(
        metric,
        values,
        texts,
        {
            name: difference(metric.key, first, model)
            for name, model in having.items()
            if comparable and model is not first and metric.key in model.first
        },
    )


def _notes(rows: Sequence[MetricRow]) -> list[str]:
    """What the intervals are, and the tests of metrics of right or wrong answers."""
    found = [each for row in rows for each in row.differences.values()]
    notes = method_notes(found)
    tests = [
        f"{row.metric.label} of {name}: p = {each.p_value:.2g}"
        for row in rows
        for name, each in row.differences.items()
        if each.p_value is not None
    ]
    notes += [f"McNemar's exact test that both are right equally often: {'; '.join(tests)}."] * (
        len(tests) > 0
    )
    return notes + [NO_INTERVAL] * (bool(notes) and any(not each.interval for each in found))


def config_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Dotted keys whose values differ → the value of each config; None if a config lacks it."""
    flat = [dict(_flatten(config)) for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each)
    found = {key: [each.get(key) for each in flat] for key in keys if key.count("title") == 0}
    return {
        key: values
        for key, values in found.items()
        if key != "summary" and any(value != values[0] for value in values)
    }


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# --- formats ---


def as_text(result: SideBySide) -> str:
    """Aligned columns, the notes, and the differences of the configs."""
    tables = [_aligned(_metric_cells(result), left=1)]
    tables += ["\n".join(result.notes)] if result.notes else []
    if result.config:
        tables.append(_aligned(_config_cells(result), left=1 + len(result.names)))
    return "\n\n".join(tables)


def as_markdown(result: SideBySide) -> str:
    """Two Markdown tables with the notes between them."""
    parts = [_markdown(_metric_cells(result), left=1), "\n".join(f"- {n}" for n in result.notes)]
    if result.config:
        parts.append(_markdown(_config_cells(result), left=1 + len(result.names)))
    return "\n\n".join(part for part in parts if part)


def as_latex(result: SideBySide) -> str:
    """Two `tabular` environments, with the notes as comments. They need no package."""
    notes = "\n".join(f"% {note}" for note in result.notes)
    parts = [_latex(_metric_cells(result), left=1), notes]
    if result.config:
        parts.append(_latex(_config_cells(result), left=1 + len(result.names)))
    return "\n".join(part for part in parts if part)


def as_json(result: SideBySide) -> str:
    """All values, not rounded. A value that is not finite is null."""
    metrics = [
        {
            "key": row.metric.key,
            "label": row.metric.label,
            "better": {1: "higher", -1: "lower", 0: None}[row.metric.better],
            "values": {name: _finite(value) for name, value in row.values.items()},
            "differences": {
                name: {
                    "difference": _finite(d.value),
                    "interval_95": list(d.interval) if d.interval else None,
                    "over": d.over or None,
                    "counts": list(d.counts),
                    "paired": d.paired,
                    "p_value": d.p_value,
                }
                for name, d in row.differences.items()
            },
        }
        for row in result.rows
    ]
    config = {k: dict(zip(result.names, v, strict=True)) for k, v in result.config.items()}
    content = {"models": list(result.names), "reference": result.names[0], "metrics": metrics}
    return json.dumps({**content, "config": config, "notes": list(result.notes)}, indent=1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _metric_cells(result: SideBySide) -> list[list[str]]:
    """Head and rows: metric, value of each model; of the others difference, interval, over what."""
    first, *others = result.names
    heads = ["metric", *result.names]
    for name in others:
        heads += [f"{name} − {first}" if len(others) > 1 else "difference", "95 % interval", "over"]
    rows = [heads]
    for row in result.rows:
        digits = result.digits[row.metric.key]
        cells = [f"{row.metric.label}{ARROW[row.metric.better]}"]
        cells += [row.texts.get(name, "–") for name in result.names]
        for name in others:
            cells += _difference_cells(row, name, digits)
        rows.append(cells)
    return rows


def _difference_cells(row: MetricRow, name: str, digits: int) -> list[str]:
    difference = row.differences.get(name)
    if difference is None:
        return ["–", "", ""]
    value = _signed(row.metric, difference.value, digits)
    if difference.interval is None:
        return [value, "", ""]
    low, high = (_signed(row.metric, end, digits) for end in difference.interval)
    counts = " and ".join(f"{count:,}" for count in dict.fromkeys(difference.counts))
    return [value, f"[{low}, {high}]", f"{counts} {difference.over}".strip()]


def _signed(metric: Metric, value: float, digits: int) -> str:
    text = text_of(metric, value, digits)
    return text if value <= 0 or not math.isfinite(value) else f"+{text}"


def _config_cells(result: SideBySide) -> list[list[str]]:
    rows = [
        [key, *("–" if value is None else str(value) for value in values)]
        for key, values in result.config.items()
    ]
    return [["config", *result.names], *rows]


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def _markdown(rows: Sequence[Sequence[str]], *, left: int) -> str:
    ruler = ["---" if index < left else "---:" for index in range(len(rows[0]))]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |"
        for row in (rows[0], ruler, *rows[1:])
    )


def _latex(rows: Sequence[Sequence[str]], *, left: int) -> str:
    columns = "l" * left + "r" * (len(rows[0]) - left)
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    body = "\n".join([lines[0], r"\hline", *lines[1:]])
    return f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}"


def _escaped(text: str) -> str:
    special: dict[str, str] = {c: f"\\{c}" for c in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"−": "$-$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "∞": r"$\infty$"}
    return "".join(special.get(character, character) for character in text)


FORMATS: Mapping[str, Callable[[SideBySide], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "json": as_json,
}
