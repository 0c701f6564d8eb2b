"""`latentlab results`: the table of results as text, Markdown, CSV or JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from latentlab.cli.output import stop

if TYPE_CHECKING:
    from latentlab.report.comparison import Comparison
    from latentlab.report.metrics import Metric, Row

COLOURS = {"AE": "cyan", "VAE": "magenta", "GAN": "yellow", "Diffusion": "blue"}


def results(args: argparse.Namespace) -> None:
    """Print the table of results and the path of the comparison page.

    On a terminal, the best models of each metric are bold, with ties; baselines are dim.
    """
    from latentlab.config import load_project
    from latentlab.report.comparison import comparison_csv, read_comparison
    from latentlab.report.seeds import spread_note

    project = load_project(args.project)
    comparison = read_comparison(project, outdated=())
    pending = list(comparison.pending)
    comparison = _chosen(comparison, args.family, args.sort)
    if args.form == "csv":
        print(comparison_csv(comparison), end="")
    elif args.form == "json":
        print(as_json(comparison))
    elif args.form == "markdown":
        print(as_markdown(comparison, shown_metrics(args.sort, comparison)))
    else:
        print_table(comparison, shown_metrics(args.sort, comparison))
        keys = [metric.key for metric in shown_metrics(args.sort, comparison)]
        if note := spread_note(comparison.rows, keys):
            print(f"\n{note}")
        if pending:
            print(f"\nnot measured yet: {', '.join(pending)}")
        print(f"\npage: {project.root / 'reports' / 'index.html'}")


def _chosen(comparison: Comparison, family: str | None, sort: str | None) -> Comparison:
    """The models of a family, sorted; baselines stay below them."""
    models = [m for m in comparison.models if family in (None, m.row.family)]
    if family and not models:
        have = sorted({m.row.family for m in comparison.models}) or ["none"]
        stop(f"no measured model of the family {family}: there are {', '.join(have)}")
    if sort == "name":
        models.sort(key=lambda model: model.row.name)
    elif sort:
        metric = find_metric(sort)
        sign = -1 if metric.better > 0 else 1
        values = {m.row.name: m.row.values.get(metric.key, math.nan) for m in models}
        models.sort(
            key=lambda m: math.inf if math.isnan(values[m.row.name]) else sign * values[m.row.name]
        )
    return replace(comparison, models=models)


def find_metric(name: str) -> Metric:
    """The metric with this key or label. Exit with a similar name if there is none."""
    from latentlab.config.keys import nearest
    from latentlab.report.metrics import METRICS

    names = {metric.key.lower(): metric for metric in METRICS}
    names |= {metric.label.lower(): metric for metric in METRICS}
    if name.lower() not in names:
        close = nearest(name.lower(), names)
        hint = f"did you mean {names[close].key!r}? " if close else ""
        stop(f"no metric {name!r}: {hint}metrics are name, {', '.join(m.key for m in METRICS)}")
    return names[name.lower()]


def shown_metrics(sort: str | None, comparison: Comparison) -> list[Metric]:
    """The main columns, the number of trainings if one has several, and the metric of the order."""
    from latentlab.report.comparison import TEXT_COLUMNS
    from latentlab.report.metrics import BY_KEY, COUNT

    keys = list(TEXT_COLUMNS)
    if has_several(comparison):
        keys.append(COUNT)
    if sort and sort != "name" and (key := find_metric(sort).key) not in keys:
        keys.append(key)
    return [BY_KEY[key] for key in keys]


def has_several(comparison: Comparison) -> bool:
    """True if a model was trained with more than one seed."""
    return any(len(model.trainings) > 1 for model in comparison.models)


def table_cells(comparison: Comparison, metrics: Sequence[Metric]) -> list[list[str]]:
    """The cells of each row: name, family, values."""
    from latentlab.report.metrics import decimals_of
    from latentlab.report.seeds import text_with_spread

    digits = {metric.key: decimals_of(metric, comparison.rows) for metric in metrics}
    return [
        [row.name if row.family else row.title, row.family or "baseline"]
        + [text_with_spread(row, metric, digits[metric.key]) for metric in metrics]
        for row in comparison.rows
    ]


def print_table(comparison: Comparison, metrics: Sequence[Metric]) -> None:
    """Print aligned columns. Colours only on a terminal, and not if NO_COLOR is set."""
    from rich.console import Console
    from rich.text import Text

    heads = ["model", "family", *(metric.label for metric in metrics)]
    cells = table_cells(comparison, metrics)
    styles = [_styles(row, metrics, comparison) for row in comparison.rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    console = Console(highlight=False, soft_wrap=True)
    # without a terminal: print, so that a closed pipe is handled as for all commands
    show = console.print if console.is_terminal else print
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))

    def line(row: Sequence[str], style: Sequence[str]) -> None:
        text = Text()
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padded = cell.ljust(width) if index < 2 else cell.rjust(width)
            text.append("  " if index else "").append(padded, style=style[index] or None)
        text.rstrip()
        show(text)

    line(heads, ["bold"] * len(heads))
    show(Text(rule, style="dim"))
    for number, (row, style) in enumerate(zip(cells, styles, strict=True)):
        if number == len(comparison.models):
            show(Text(rule, style="dim"))
        line(row, style)


def _styles(row: Row, metrics: Sequence[Metric], comparison: Comparison) -> list[str]:
    from latentlab.report.ranking import best_names

    if not row.family:
        return ["dim"] * (2 + len(metrics))
    marked = ["bold green" if row.name in best_names(m, comparison) else "" for m in metrics]
    return ["bold", COLOURS.get(row.family, ""), *marked]


def as_markdown(comparison: Comparison, metrics: Sequence[Metric]) -> str:
    """A Markdown table."""
    heads = ["model", "family", *(metric.label for metric in metrics)]
    lines = [heads, ["---", "---", *("---:" for _ in metrics)], *table_cells(comparison, metrics)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in lines)


def _finite(row: Row) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in row.values.items()}


def as_json(comparison: Comparison) -> str:
    """All rows with all values, not rounded. A value that is not finite is null.

    The values of a model with several trainings are means; `trainings` has those of each.
    """
    trainings = {model.row.name: model.trainings for model in comparison.models}
    rows = [
        {
            "name": row.name,
            "title": row.title,
            "type": "model" if row.family else "baseline",
            "family": row.family or None,
            "metrics": _finite(row),
        }
        | (
            {"trainings": {name: _finite(each) for name, each in several.items()}}
            if len(several := trainings.get(row.name, {})) > 1
            else {}
        )
        for row in comparison.rows
    ]
    content = {"data": comparison.data, "seed": comparison.seed, "rows": rows}
    return json.dumps({**content, "pending": list(comparison.pending)}, indent=1)
