"""The numbers as HTML: one table of all models, and one of each model beside its baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from latentlab.report.columns import BY_KEY, METRICS, Metric, best_of, decimals_of, text_of
from latentlab.report.pieces import dot
from latentlab.report.results import Entry, Results, Row


def models_table(results: Results) -> str:
    """Every model and baseline under every metric; the best model of each in bold."""
    rows = results.rows
    columns = [m for m in METRICS if not m.optional or any(m.key in row.values for row in rows)]
    groups = {group: sum(m.group == group for m in columns) for group in _groups(columns)}
    top = '<th colspan="2"></th>' + "".join(
        f'<th colspan="{count}" scope="colgroup">{group}</th>' for group, count in groups.items()
    )
    heads = _head("Model", "text") + _head("Family", "text")
    firsts = {next(m.key for m in columns if m.group == group) for group in groups}
    for metric in columns:
        heads += _head(metric.label, "number", metric, " first" * (metric.key in firsts))
    digits = {metric.key: decimals_of(metric, rows) for metric in columns}
    best = {metric.key: best_of(metric, rows) for metric in columns}
    body = ""
    for row in rows:
        family = row.family or "baseline"
        name = escape(row.title)
        if row.family:
            name = f'<a href="#model-{escape(row.name)}">{name}</a>'
        cells = (
            f'<th scope="row" data-v="{escape(row.title)}">{name}</th>'
            f'<td class="family" data-v="{escape(family)}">'
            f"{dot(row.family) if row.family else ''}{escape(family)}</td>"
        )
        for metric in columns:
            value = row.values.get(metric.key)
            shown = text_of(metric, value, digits[metric.key])
            style = "first " * (metric.key in firsts)
            if value is not None and row.family and value == best[metric.key]:
                style, shown = style + "best", f"<b>{shown}</b>"
            if metric.key == "fid":
                shown += _bar(value, rows)
            number = "" if value is None or not math.isfinite(value) else f' data-v="{value!r}"'
            cells += f'<td class="{style.strip()}"{number}>{shown}</td>'
        kind = "model" if row.family else "baseline"
        body += f'<tr class="{kind}" data-family="{escape(row.family)}">{cells}</tr>\n'
    return f"<thead><tr>{top}</tr><tr>{heads}</tr></thead><tbody>\n{body}</tbody>"


def _groups(metrics: Iterable[Metric]) -> list[str]:
    return list(dict.fromkeys(metric.group for metric in metrics))


def _head(label: str, kind: str, metric: Metric | None = None, style: str = "") -> str:
    better = metric.better if metric else 0
    arrow = {1: "↑", -1: "↓", 0: ""}[better]
    told = {1: ", higher is better", -1: ", lower is better", 0: ""}[better]
    first = "descending" if better > 0 else "ascending"
    tip = f' title="{escape(metric.meaning)}"' if metric else ""
    key = metric.key if metric else label.lower()
    return (
        f'<th scope="col" class="{kind}{style}" data-key="{key}" data-first="{first}" '
        f'aria-sort="none"{tip}><button type="button" aria-label="Sort by {escape(label)}{told}">'
        f'{escape(label)}<span class="arrow">{arrow}</span></button></th>'
    )


def _bar(value: float | None, rows: Sequence[Row]) -> str:
    """A hairline below an FID: its distance above the floor, on a logarithmic scale."""
    floor = next((row.values.get("fid", 0.0) for row in rows if row.name == "real"), 0.0)
    found = [row.values["fid"] for row in rows if math.isfinite(row.values.get("fid", math.nan))]
    if value is None or not math.isfinite(value) or not floor > 0 or max(found) <= floor:
        return ""
    share = math.log(max(value, floor) / floor) / math.log(max(found) / floor)
    return f'<i class="bar" style="--w:{100 * share:.1f}%"></i>'


def numbers_table(entry: Entry, results: Results) -> str:
    """One model's numbers beside its PCA twin and real data; unknown quantities come last."""
    real = next((row for row in results.rows if row.name == "real"), None)
    beside = [row for row in (entry.twin, real) if row]
    if entry.twin:  # the completed row: a twin may borrow its sampler's FID
        beside[0] = next(row for row in results.baselines if row.name == entry.twin.name)
    own = entry.row.values
    extra = [key for key in own if key not in BY_KEY]
    metrics = [metric for metric in METRICS if not metric.optional or metric.key in own]
    metrics += [Metric(key, key.replace("_", " "), "Other", 0, "", "") for key in extra]
    lines = ""
    for group in _groups(metrics):
        lines += f'<tr><th colspan="{2 + len(beside)}" scope="rowgroup">{group}</th></tr>'
        for metric in (m for m in metrics if m.group == group):
            digits = decimals_of(metric, results.rows if metric.key in BY_KEY else [entry.row])
            cells = "".join(
                f"<td>{text_of(metric, row.values.get(metric.key), digits)}</td>"
                for row in (entry.row, *beside)
            )
            lines += f'<tr><th scope="row">{escape(metric.label)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{escape(row.title)}</th>' for row in (entry.row, *beside))
    return (
        f'<table class="numbers"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )
