"""Pieces of the page: a family's dot, a picture inside the file, a finding with its table."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Iterable
from html import escape
from pathlib import Path

from latentlab.contracts import LatentlabError
from latentlab.findings import Shown
from latentlab.plots import is_plot, unscaled


def dot(family: str) -> str:
    """A spot of the family's colour."""
    return f'<i class="dot" data-family="{escape(family)}"></i>'


def picture_html(path: Path, alt: str) -> str:
    """A picture as a data URI in a button that enlarges it, or a remark where it is absent."""
    if not path.exists():
        return '<p class="absent">no picture</p>'
    try:
        png, width, height = unscaled(path.read_bytes())
    except (LatentlabError, OSError) as error:
        place, name = "/".join(path.parts[-3:]), path.parent.name
        stage = "reference" if name == "reference" else f"evaluate@{name}"
        raise LatentlabError(f"{place} cannot be shown: {error}: `dvc repro {stage}`") from None
    # Pixel art up to this width is enlarged crisply by whole factors; a plot is scaled smoothly.
    kind = "map" if is_plot(png) else "pixels" if width <= 330 else "photo"
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return (
        f'<button type="button" class="zoom" style="--w:{width}px" aria-label="Enlarge: '
        f'{escape(alt)}"><img class="{kind}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" src="{source}"></button>'
    )


def finding_html(shown: Shown, *, level: int = 4) -> str:
    """A study or a task: its words, alarms, table, lone numbers and pictures."""
    flags = "".join(f'<p class="flag">{escape(flag)}</p>' for flag in shown.flags)
    pictures = "".join(
        f"<figure>{picture_html(path, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, path in shown.pictures
    )
    # what the table shows is not said twice
    told = {value for row in shown.table.values() for value in row.values()}
    numbers = {k: v for k, v in shown.numbers.items() if v not in told}
    lone = "".join(
        f"<div><dt>{escape(key.replace('_', ' '))}</dt><dd>{_short(value)}</dd></div>"
        for key, value in numbers.items()
    )
    return (
        f'<section class="finding" id="{escape(shown.name)}"><h{level}>{escape(shown.title)}'
        f"</h{level}>{flags}<p>{escape(shown.text)}</p>"
        + (f'<div class="scroll">{_finding_table(shown)}</div>' if shown.table else "")
        + (f'<dl class="told">{lone}</dl>' if lone else "")
        + (f'<div class="pictures">{pictures}</div>' if pictures else "")
        + "</section>"
    )


def _finding_table(shown: Shown) -> str:
    columns = list(dict.fromkeys(key for row in shown.table.values() for key in row))
    decimals = {key: _decimals(row.get(key) for row in shown.table.values()) for key in columns}
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_fixed(row.get(column), decimals[column])}</td>" for column in columns)
        + "</tr>"
        for name, row in shown.table.items()
    )
    return (
        f'<table class="numbers compared"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _short(value: float | None) -> str:
    """Four significant digits, thousands separated, whole numbers whole."""
    return _fixed(value, _decimals([value]))


def _decimals(values: Iterable[float | None]) -> int:
    """Digits after the point for a column: four significant ones of its middle value."""
    found = [abs(v) for v in values if v and math.isfinite(v)]
    if all(v == int(v) for v in found):
        return 0
    places = [3 - math.floor(math.log10(v)) for v in found]
    return min(6, max(0, statistics.median_low(places)))


def _fixed(value: float | None, decimals: int) -> str:
    """`decimals` digits after the point; in powers of ten what these would make 0."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value + 0.0:,.{decimals}f}"  # −0 + 0 is 0
    if value and not text.strip("-0.,"):
        text = f"{value:.1e}"
    return text.replace("-", "−")
