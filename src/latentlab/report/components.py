"""Parts of the page: the dot of a family, a figure, and a result with its table."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Iterable
from html import escape
from pathlib import Path

from latentlab.evaluation.results import StoredResult
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import is_plot, unscaled

MAX_PIXELATED_WIDTH = 330  # px: smaller images are enlarged by whole factors, without smoothing


def family_dot(family: str) -> str:
    """A dot in the color of the family."""
    return f'<i class="dot" data-family="{escape(family)}"></i>'


def image_html(path: Path, alt: str) -> str:
    """An image as a data URI, in a button that enlarges it; a note if the file is missing."""
    if not path.exists():
        return '<p class="absent">no figure</p>'
    try:
        png, width, height = unscaled(path.read_bytes())
    except (LatentlabError, OSError) as error:
        file, name = "/".join(path.parts[-3:]), path.parent.name
        stage = "reference" if name == "reference" else f"evaluate@{name}"
        raise LatentlabError(f"{file} cannot be shown: {error}: `dvc repro {stage}`") from None
    style = "map" if is_plot(png) else "pixels" if width <= MAX_PIXELATED_WIDTH else "photo"
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return (
        f'<button type="button" class="zoom" style="--w:{width}px" aria-label="Enlarge: '
        f'{escape(alt)}"><img class="{style}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" src="{source}"></button>'
    )


def figure_html(path: Path, *, alt: str, caption: str) -> str:
    return f"<figure>{image_html(path, alt)}<figcaption>{escape(caption)}</figcaption></figure>"


def result_html(result: StoredResult, *, level: int = 4) -> str:
    """A diagnostic or a task: title (<h4> for `level` 4), warnings, summary, table, figures.

    Metrics that are not in the table follow below it.
    """
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in result.warnings)
    figures = "".join(
        figure_html(path, alt=caption, caption=caption) for caption, path in result.figures
    )
    in_table = {value for row in result.table.values() for value in row.values()}
    others = "".join(
        f"<div><dt>{escape(key.replace('_', ' '))}</dt><dd>{_short(value)}</dd></div>"
        for key, value in result.metrics.items()
        if value not in in_table
    )
    return (
        f'<section class="result" id="{escape(result.name)}"><h{level}>{escape(result.title)}'
        f"</h{level}>{warnings}<p>{escape(result.summary)}</p>"
        + (f'<div class="scroll">{_result_table(result)}</div>' if result.table else "")
        + (f'<dl class="properties">{others}</dl>' if others else "")
        + (f'<div class="figures">{figures}</div>' if figures else "")
        + "</section>"
    )


def _result_table(result: StoredResult) -> str:
    columns = list(dict.fromkeys(key for row in result.table.values() for key in row))
    decimals = {key: _decimals(row.get(key) for row in result.table.values()) for key in columns}
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_fixed(row.get(column), decimals[column])}</td>" for column in columns)
        + "</tr>"
        for name, row in result.table.items()
    )
    return (
        f'<table class="numbers compared"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _short(value: float | None) -> str:
    """Four significant digits, with thousands separators; no decimals for an integer."""
    return _fixed(value, _decimals([value]))


def _decimals(values: Iterable[float | None]) -> int:
    """Digits after the point for a column: four significant digits of its median."""
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    if all(v == int(v) for v in sizes):
        return 0
    places = [3 - math.floor(math.log10(v)) for v in sizes]
    return min(6, max(0, statistics.median_low(places)))


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
