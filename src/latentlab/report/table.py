"""The metrics as HTML tables: of all models, and of one model with its baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.components import family_dot
from latentlab.report.metrics import BY_KEY, METRICS, Metric, Row, best_of, decimals_of, text_of

ARROW = {1: "↑", -1: "↓", 0: ""}
DIRECTION = {1: ", higher is better", -1: ", lower is better", 0: ""}


def models_table(comparison: Comparison) -> str:
    """All models and baselines with all metrics; the best model of each metric is bold."""
    rows = comparison.rows
    metrics = [m for m in METRICS if not m.optional or any(m.key in row.values for row in rows)]
    groups = {group: sum(m.group == group for m in metrics) for group in _groups(metrics)}
    top = '<th colspan="2"></th>' + "".join(
        f'<th colspan="{count}" scope="colgroup">{group}</th>' for group, count in groups.items()
    )
    first = {next(m.key for m in metrics if m.group == group) for group in groups}
    heads = _text_head("Model") + _text_head("Family")
    heads += "".join(_metric_head(metric, first=metric.key in first) for metric in metrics)
    columns = [_column(metric, rows, first=metric.key in first) for metric in metrics]
    body = "".join(
        f'<tr class="{"model" if row.family else "baseline"}" '
        f'data-family="{escape(row.family)}">{_name_cells(row)}{"".join(cells)}</tr>\n'
        for row, *cells in zip(rows, *columns, strict=True)
    )
    return f"<thead><tr>{top}</tr><tr>{heads}</tr></thead><tbody>\n{body}</tbody>"


def _groups(metrics: Iterable[Metric]) -> list[str]:
    return list(dict.fromkeys(metric.group for metric in metrics))


def _text_head(label: str) -> str:
    return _head(label, key=label.lower(), style="text", first_order="ascending")


def _metric_head(metric: Metric, *, first: bool) -> str:
    return _head(
        metric.label,
        key=metric.key,
        style="number first" if first else "number",
        first_order="descending" if metric.better > 0 else "ascending",
        arrow=ARROW[metric.better],
        direction=DIRECTION[metric.better],
        tooltip=f' title="{escape(metric.meaning)}"',
    )


def _head(
    label: str,
    *,
    key: str,
    style: str,
    first_order: str,
    arrow: str = "",
    direction: str = "",
    tooltip: str = "",
) -> str:
    """The head of a column. `first_order`: the order after the first click."""
    label = escape(label)
    return (
        f'<th scope="col" class="{style}" data-key="{key}" data-first="{first_order}" '
        f'aria-sort="none"{tooltip}><button type="button" aria-label="Sort by {label}{direction}">'
        f'{label}<span class="arrow">{arrow}</span></button></th>'
    )


def _name_cells(row: Row) -> str:
    """Title and family of a row; the title of a model is a link to its section."""
    family, name = row.family or "baseline", escape(row.title)
    if row.family:
        name = f'<a href="#model-{escape(row.name)}">{name}</a>'
    return (
        f'<th scope="row" data-v="{escape(row.title)}">{name}</th>'
        f'<td class="family" data-v="{escape(family)}">'
        f"{family_dot(row.family) if row.family else ''}{escape(family)}</td>"
    )


def _column(metric: Metric, rows: Sequence[Row], *, first: bool) -> list[str]:
    """The cells of one metric for all rows."""
    decimals, best = decimals_of(metric, rows), best_of(metric, rows)
    cells = []
    for row in rows:
        value = row.values.get(metric.key)
        text = text_of(metric, value, decimals)
        styles = ["first"] if first else []
        if value is not None and row.family and value == best:
            styles, text = [*styles, "best"], f"<b>{text}</b>"
        if metric.key == "fid":
            text += _bar(value, rows)
        sort_value = "" if value is None or not math.isfinite(value) else f' data-v="{value!r}"'
        cells.append(f'<td class="{" ".join(styles)}"{sort_value}>{text}</td>')
    return cells


def _bar(value: float | None, rows: Sequence[Row]) -> str:
    """A bar below an FID: its distance from the FID of real images, on a logarithmic scale."""
    real = next((row.values.get("fid", 0.0) for row in rows if row.name == "real"), 0.0)
    fids = [row.values["fid"] for row in rows if math.isfinite(row.values.get("fid", math.nan))]
    if value is None or not math.isfinite(value) or not real > 0 or max(fids) <= real:
        return ""
    length = math.log(max(value, real) / real) / math.log(max(fids) / real)
    return f'<i class="bar" style="--w:{100 * length:.1f}%"></i>'


def numbers_table(model: ModelResults, comparison: Comparison) -> str:
    """The metrics of one model, its PCA baseline and real images; unknown metrics are last."""
    rows = [model.row, *_baselines_of(model, comparison)]
    own = model.row.values
    metrics = [metric for metric in METRICS if not metric.optional or metric.key in own]
    metrics += [
        Metric(key, key.replace("_", " "), "Other", 0, "", "") for key in own if key not in BY_KEY
    ]
    lines = ""
    for group in _groups(metrics):
        lines += f'<tr><th colspan="{1 + len(rows)}" scope="rowgroup">{group}</th></tr>'
        for metric in (m for m in metrics if m.group == group):
            known = metric.key in BY_KEY
            decimals = decimals_of(metric, comparison.rows if known else [model.row])
            cells = "".join(
                f"<td>{text_of(metric, row.values.get(metric.key), decimals)}</td>" for row in rows
            )
            lines += f'<tr><th scope="row">{escape(metric.label)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{escape(row.title)}</th>' for row in rows)
    return (
        f'<table class="numbers"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def _baselines_of(model: ModelResults, comparison: Comparison) -> list[Row]:
    """PCA with codes of the same size, if the model has an encoder, and real images."""
    names = ["real"] if model.pca is None else [model.pca.name, "real"]
    return [row for name in names for row in comparison.baselines if row.name == name]
