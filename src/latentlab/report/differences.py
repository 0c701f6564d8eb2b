"""Models side by side: their metrics, the differences to the first one, and those of their configs.

An interval needs a value for each test image, of both models: the differences of the same images
are resampled (paired bootstrap). It says how much the difference depends on the test images. It
does not contain the spread over training seeds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentlab.report.metrics import COST, METRICS, Metric, Row, decimals_of, text_of

RESAMPLES = 2000
CHUNK = 100  # resamples in memory at a time
ARROW = {1: " ↑", -1: " ↓", 0: ""}
PerImage = Mapping[str, Mapping[str, np.ndarray]]  # model → metric → values (N,)


@dataclass(frozen=True)
class Difference:
    """`value`: of a model minus the first. `interval`: 95 %, over `count` images; None without."""

    value: float
    interval: tuple[float, float] | None = None
    count: int = 0


@dataclass(frozen=True)
class MetricRow:
    """One metric. `values`: by model. `differences`: by model, not of the first."""

    metric: Metric
    values: Mapping[str, float]
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
    rows: Sequence[Row],
    configs: Sequence[Mapping[str, Any]],
    per_image: PerImage,
    notes: Sequence[str] = (),
) -> SideBySide:
    """Compare models. `per_image`: the values of each test image, of the models that have them."""
    names = [row.name for row in rows]
    shown = [m for m in METRICS if any(m.key in row.values for row in rows)]
    found = [_metric_row(metric, rows, per_image) for metric in shown]
    digits = {metric.key: decimals_of(metric, rows) for metric in shown}
    return SideBySide(names, found, config_differences(configs), digits, notes)


def _metric_row(metric: Metric, rows: Sequence[Row], per_image: PerImage) -> MetricRow:
    values = {row.name: row.values[metric.key] for row in rows if metric.key in row.values}
    first, differences = rows[0].name, {}
    comparable = metric.better or metric.group == COST
    for name in [row.name for row in rows[1:] if row.name in values and first in values]:
        if not comparable:  # likelihoods of different kinds have different units
            continue
        a, b = (per_image.get(model, {}).get(metric.key) for model in (first, name))
        value = values[name] - values[first]
        if a is None or b is None:
            differences[name] = Difference(value)
        else:
            differences[name] = Difference(value, paired_interval(b - a), len(a))
    return MetricRow(metric, values, differences)


def paired_interval(differences: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of `differences` (N,): percentiles of `RESAMPLES` bootstrap means.

    Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    generator, size = np.random.default_rng(seed), len(differences)
    means = np.concatenate(
        [
            differences[generator.integers(size, size=(CHUNK, size))].mean(1)
            for _ in range(RESAMPLES // CHUNK)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


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
                    "num_images": d.count or None,
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
    """Head and rows: the metric, a value of each model, difference and interval of the others."""
    first, *others = result.names
    heads = ["metric", *result.names]
    for name in others:
        heads += [f"{name} − {first}" if len(others) > 1 else "difference", "95 % interval"]
    rows = [heads]
    for row in result.rows:
        digits = result.digits[row.metric.key]
        cells = [f"{row.metric.label}{ARROW[row.metric.better]}"]
        cells += [text_of(row.metric, row.values.get(name), digits) for name in result.names]
        for name in others:
            cells += _difference_cells(row, name, digits)
        rows.append(cells)
    return rows


def _difference_cells(row: MetricRow, name: str, digits: int) -> list[str]:
    difference = row.differences.get(name)
    if difference is None:
        return ["–", ""]
    value = _signed(row.metric, difference.value, digits)
    if difference.interval is None:
        return [value, ""]
    low, high = (_signed(row.metric, end, digits) for end in difference.interval)
    return [value, f"[{low}, {high}]"]


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
