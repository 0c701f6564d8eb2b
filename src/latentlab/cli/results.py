"""`latentlab results`: the table of results as text, Markdown, CSV or JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from latentlab.cli.output import stop
from latentlab.cli.styles import has_styles, styled
from latentlab.utils.names import counted

if TYPE_CHECKING:
    from latentlab.report.comparison import Comparison
    from latentlab.report.metrics import Metric, Row

COLOURS = {"AE": "cyan", "VAE": "magenta", "GAN": "yellow", "Diffusion": "blue"}
TEXT_COLUMNS = (
    "fid", "reconstruction_mse", "psnr_db", "ssim", "probe_accuracy", "classifier_accuracy",
    "num_parameters", "train_seconds",
)  # fmt: skip
MAX_PCA = 3  # rows of PCA in a table, of the sizes of codes that most models have


def results(args: argparse.Namespace) -> None:
    """Print the table of results and the path of the comparison page.

    On a terminal, the best model of each metric is green, and so are models that tie with it.
    Baselines are dim.
    """
    from latentlab.config import load_project
    from latentlab.report.comparison import comparison_csv, read_comparison

    project = load_project(args.project)
    everything = read_comparison(project, outdated=())
    comparison = _chosen(everything, args.family, args.sort)
    shown = everything if args.baselines else with_few_baselines(everything)
    few = _chosen(shown, args.family, args.sort)
    if args.form == "csv":
        print(comparison_csv(comparison), end="")
    elif args.form == "json":
        print(as_json(comparison))
    elif args.form == "markdown":
        print(as_markdown(few, shown_metrics(args.sort, comparison)))
    else:
        metrics = shown_metrics(args.sort, comparison)
        print_table(few, metrics)
        for note in _notes(few, metrics, left_out=len(comparison.rows) - len(few.rows)):
            print(f"\n{note}")
        page = project.root / "reports" / "index.html"
        print(f"\npage: {page}" if page.exists() else "\nno page yet: `latentlab repro report`")


def _notes(comparison: Comparison, metrics: Sequence[Metric], *, left_out: int) -> list[str]:
    """What ± is, how many rows of PCA are left out, and what is not measured yet."""
    from latentlab.report.seeds import spread_note

    notes = [spread_note(comparison.rows, [metric.key for metric in metrics])]
    if left_out:
        notes.append(f"PCA of {counted(left_out, 'other size')} of codes: --baselines")
    if comparison.pending:
        notes.append(f"not measured yet: {', '.join(comparison.pending)}")
    for name, reason in comparison.skipped.items():
        notes.append(f"{name} is left out, as the data do not suit it: {reason}")
    return [note for note in notes if note]


def with_few_baselines(comparison: Comparison) -> Comparison:
    """Leave out rows of PCA: those of the MAX_PCA sizes that most models have are kept.

    Of sizes that are equally frequent, those of the first models are kept.
    """
    from dataclasses import replace

    sizes = Counter(model.pca.name for model in comparison.models if model.pca)
    rows = [row for row in comparison.baselines if row.name.startswith("PCA")]
    order = [*sizes, *(row.name for row in rows)]
    ranked = sorted(rows, key=lambda row: (-sizes[row.name], order.index(row.name)))
    left_out = {row.name for row in ranked[MAX_PCA:]}
    return replace(
        comparison, baselines=[row for row in comparison.baselines if row.name not in left_out]
    )


def _chosen(comparison: Comparison, family: str | None, sort: str | None) -> Comparison:
    """The models of a family, sorted; baselines stay below them."""
    from dataclasses import replace

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
    heads = ["model", "family", *(metric.label for metric in metrics)]
    rows = [heads, *table_cells(comparison, metrics)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rules = {1, 1 + len(comparison.models)}  # the numbers of the lines below a rule
    if has_styles():
        _print_styled(lines, rules, comparison, metrics)
        return
    # ties, which a pipe does not show, would take more time than all else
    for number, line in enumerate(lines):
        if number in rules:
            print(_rule(line))
        print("  ".join(line).rstrip())


def _print_styled(
    lines: Sequence[Sequence[str]],
    rules: set[int],
    comparison: Comparison,
    metrics: Sequence[Metric],
) -> None:
    from latentlab.report.ranking import best_names

    best = [best_names(metric, comparison) for metric in metrics]
    styles = [["bold"] * len(lines[0]), *(_styles(row, best) for row in comparison.rows)]
    for number, (line, style) in enumerate(zip(lines, styles, strict=True)):
        if number in rules:
            print(styled(_rule(line), "dim"))
        print("  ".join(styled(*each) for each in zip(line, style, strict=True)))


def _rule(line: Sequence[str]) -> str:
    return "─" * len("  ".join(line))


def _styles(row: Row, best: Sequence[set[str]]) -> list[str]:
    """The style of each cell. `best`: the names of the best models, for each metric."""
    if not row.family:
        return ["dim"] * (2 + len(best))
    marked = ["bold green" if row.name in names else "" for names in best]
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
    return json.dumps(
        {**content, "pending": list(comparison.pending), "skipped": comparison.skipped}, indent=1
    )
