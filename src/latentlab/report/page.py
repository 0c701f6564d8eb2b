"""The comparison page: one file that asks the network for nothing.

It holds no clock and no randomness: equal results give equal bytes. All text from outside (class
names, configuration) is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from latentlab.contracts import LatentlabError
from latentlab.findings import Shown
from latentlab.plots import is_plot, unscaled
from latentlab.report.columns import BY_KEY, METRICS, Metric, best_of, decimals_of, text_of
from latentlab.report.curves import curves_svg
from latentlab.report.results import Entry, Results, Row

PICTURES = {
    "samples": ("Samples", "Images decoded from drawn codes; nothing was chosen by hand."),
    "reconstructions": ("Reconstructions", "Test images above what the model makes of them."),
    "interpolations": ("Interpolations", "Straight lines between the codes of two images."),
    "map": ("Maps", "Codes or features of test images in two dimensions; colour is the class."),
}


def page(results: Results) -> str:
    """The comparison page as one HTML document; see page.html for its frame, style and script."""
    frame = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", frame, re.DOTALL)
    assert script is not None
    families = list(dict.fromkeys(entry.row.family for entry in results.entries))
    parts = {
        # Only the script whose hash stands in the policy may run, whatever a class is called.
        "script_hash": base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode(),
        "data": escape(results.data),
        "lede": _lede(results, families),
        "facts": _facts(results),
        "findings": _findings(results),
        "chips": "".join(
            f'<button type="button" data-family="{escape(family)}" aria-pressed="false">'
            f"{_dot(family)}{escape(family)}</button>"
            for family in families
        ),
        "table": _html_table(results),
        "gallery": _gallery(results),
        "tasks": _tasks(results.tasks),
        "models": "".join(_section(entry, results) for entry in results.entries),
        "notes": _notes(results),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def _dot(family: str) -> str:
    return f'<i class="dot" data-family="{escape(family)}"></i>'


def _lede(results: Results, families: Sequence[str]) -> str:
    models, kinds = len(results.entries), len(families)
    return (
        f"{models} model{'s' * (models != 1)} of {kinds} famil{'ies' if kinds != 1 else 'y'}, "
        "measured by the same numbers on the same test images, beside real data, "
        "principal components and noise."
    )


def _value(results: Results, name: str, key: str) -> str:
    for row in results.rows:
        if row.name == name and key in row.values:
            return text_of(BY_KEY[key], row.values[key], decimals_of(BY_KEY[key], results.rows))
    return "–"


def _facts(results: Results) -> str:
    card = results.reference
    counts = card.get("counts") or {}
    shape = card.get("image_shape") or []
    classes = card.get("classes") or []
    size = f"{shape[1]} × {shape[2]} {'grey' if shape[0] == 1 else 'colour'}" if shape else "–"
    names = ", ".join(map(str, classes[:12])) + (" …" if len(classes) > 12 else "")
    split = " · ".join(f"{counts[k]:,} {k}" for k in ("train", "val", "test") if k in counts)
    samples = f"{card['num_samples']:,}" if "num_samples" in card else "–"
    facts = {
        "Images": (size, f"{len(classes)} classes: {names}" if classes else "no labels"),
        "Split": (split or "–", f"split seed {card.get('split_seed', '–')}"),
        "Training seed": (str(results.seed), f"data {str(card.get('data_sha256', '–'))[:12]}"),
        "FID": (f"{card.get('features', '–')}", f"N = {samples} images on each side"),
        "FID floor": (_value(results, "real", "fid"), f"noise {_value(results, 'noise', 'fid')}"),
    }
    return "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(main)}</dd><dd>{escape(more)}</dd></div>"
        for term, (main, more) in facts.items()
    )


def _findings(results: Results) -> str:
    """Who leads, in words: one line for each of the three questions."""
    asked = (
        ("fid", "Closest samples", "FID {0}, where real images reach {1}"),
        ("reconstruction_mse", "Truest reconstructions", "mean squared error {0} per pixel"),
        ("probe_accuracy", "Plainest features", "{0} % by a linear probe; raw pixels {2} %"),
    )
    lines = []
    for key, title, phrase in asked:
        found = [
            row
            for row in results.rows
            if row.family and math.isfinite(row.values.get(key, math.nan))
        ]
        if not found:
            continue
        best = min(found, key=lambda row: -BY_KEY[key].better * row.values[key])
        told = phrase.format(
            _value(results, best.name, key),
            _value(results, "real", "fid"),
            _value(results, "pixels", key),
        )
        lines.append(
            f'<li><span>{title}</span> <a href="#model-{escape(best.name)}">{escape(best.title)}'
            f"</a> <small>{escape(told)}</small></li>"
        )
    return "".join(lines)


def _html_table(results: Results) -> str:
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
            f"{_dot(row.family) if row.family else ''}{escape(family)}</td>"
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


def _picture(path: Path, alt: str) -> str:
    """A picture as a data URI in a button that enlarges it, or a remark where it is absent."""
    if not path.exists():
        return '<p class="absent">no picture</p>'
    try:
        png, width, height = unscaled(path.read_bytes())
    except (LatentlabError, OSError) as error:
        place, name = "/".join(path.parts[-3:]), path.parent.name
        stage = "judge" if name == "reference" else f"evaluate@{name}"
        raise LatentlabError(f"{place} cannot be shown: {error}: `dvc repro {stage}`") from None
    # Pixel art up to this width is enlarged crisply by whole factors; a plot is scaled smoothly.
    kind = "map" if is_plot(png) else "pixels" if width <= 330 else "photo"
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return (
        f'<button type="button" class="zoom" style="--w:{width}px" aria-label="Enlarge: '
        f'{escape(alt)}"><img class="{kind}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" src="{source}"></button>'
    )


def _gallery(results: Results) -> str:
    originals = results.folder / "reference" / "originals.png"
    blocks = []
    for kind, (title, text) in PICTURES.items():
        figures = ""
        if kind != "map" and originals.exists():
            figures = (
                f'<figure class="real">{_picture(originals, "Real images of the test split")}'
                "<figcaption>Real images</figcaption></figure>"
            )
        elif originals.exists():  # nothing real to map: keep each model in its column
            figures = '<figure class="blank"></figure>'
        for entry in results.entries:
            row = entry.row
            figures += (
                f'<figure data-family="{escape(row.family)}">'
                f"{_picture(entry.folder / f'{kind}.png', f'{title} of {row.title}')}"
                f'<figcaption>{_dot(row.family)}<a href="#model-{escape(row.name)}">'
                f"{escape(row.title)}</a></figcaption></figure>"
            )
        blocks.append(
            f"<section><h3>{title}</h3><p>{text}</p>"
            f'<div class="side-by-side">{figures}</div></section>'
        )
    return "".join(blocks)


def _section(entry: Entry, results: Results) -> str:
    row, card = entry.row, entry.card
    facts = {
        "Paper": card.get("paper"),
        "Sampler": card.get("sampler"),
        "Trained on": f"{card['num_images_seen']:,} images" if "num_images_seen" in card else None,
        "Device": card.get("device"),
    }
    told = "".join(
        f"<div><dt>{term}</dt><dd>{escape(str(value))}</dd></div>"
        for term, value in facts.items()
        if value
    )
    pictures = "".join(
        f"<figure>{_picture(entry.folder / f'{kind}.png', f'{title} of {row.title}')}"
        f"<figcaption>{title}</figcaption></figure>"
        for kind, (title, _) in PICTURES.items()
    )
    config = yaml.safe_dump(card.get("config") or {}, sort_keys=False, allow_unicode=True)
    curves = curves_svg(entry.history) if entry.history else '<p class="absent">no curves</p>'
    return (
        f'<article class="model" id="model-{escape(row.name)}" '
        f'data-family="{escape(row.family)}">'
        f'<header><h3>{escape(row.title)}</h3><p class="kicker">{_dot(row.family)}'
        f"{escape(row.family)} · <code>{escape(row.name)}</code></p></header>"
        f'<p class="idea">{escape(str(card.get("idea") or ""))}</p>{_objective(card)}'
        f'<dl class="told">{told}</dl><div class="pictures">{pictures}</div>'
        f"{''.join(finding_html(study) for study in entry.studies)}"
        f'<div class="detail"><div>{_model_numbers(entry, results)}</div>'
        f"<div><h4>Training</h4>{curves}</div></div>"
        f"<details><summary>Configuration</summary><pre>{escape(config)}</pre></details></article>"
    )


def _tasks(tasks: Sequence[Shown]) -> str:
    if not tasks:
        return ""
    body = "".join(finding_html(task, level=3) for task in tasks)
    return (
        '<h2 id="tasks">What they are for</h2><p class="prose">Uses of what was trained, each '
        f"against the plain method it should beat.</p>{body}"
    )


def finding_html(shown: Shown, *, level: int = 4) -> str:
    """A study or a task: its words, alarms, table, lone numbers and pictures."""
    flags = "".join(f'<p class="flag">{escape(flag)}</p>' for flag in shown.flags)
    pictures = "".join(
        f"<figure>{_picture(path, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
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
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_short(row.get(column))}</td>" for column in columns)
        + "</tr>"
        for name, row in shown.table.items()
    )
    return (
        f'<table class="numbers compared"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _short(value: float | None) -> str:
    """Four significant digits, thousands separated, whole numbers whole."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    places = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 8)}f}".replace("-", "−")


def _objective(card: Mapping[str, Any]) -> str:
    """The model's equations as its file states them, unless that paragraph is the paper's."""
    text = textwrap.dedent(str(card.get("objective") or "")).strip("\n")
    same = " ".join(text.split()) == " ".join(str(card.get("paper") or "").split())
    return "" if same else f'<pre class="objective">{escape(text)}</pre>'


def _model_numbers(entry: Entry, results: Results) -> str:
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


def _notes(results: Results) -> str:
    notes = ""
    for metric in METRICS:
        if metric.optional and not any(metric.key in row.values for row in results.rows):
            continue
        way = {1: "↑ higher is better", -1: "↓ lower is better", 0: ""}[metric.better]
        parts = [text for text in (way, metric.span, metric.source) if text]
        notes += (
            f"<div><dt>{escape(metric.label)} <small>{escape(' · '.join(parts))}</small></dt>"
            f"<dd>{escape(metric.meaning)}</dd></div>"
        )
    return notes
