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
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from latentlab.findings import Shown
from latentlab.report.columns import BY_KEY, METRICS, decimals_of, text_of
from latentlab.report.curves import curves_svg
from latentlab.report.pieces import dot, finding_html, picture_html
from latentlab.report.results import Entry, Results
from latentlab.report.table import models_table, numbers_table

PICTURES = {
    "samples": ("Samples", "Images decoded from drawn codes; nothing was chosen by hand."),
    "reconstructions": ("Reconstructions", "Test images above what the model makes of them."),
    "interpolations": (
        "Interpolations",
        "Straight lines between the codes of two images; of symbols, between their vectors.",
    ),
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
            f"{dot(family)}{escape(family)}</button>"
            for family in families
        ),
        "table": models_table(results),
        "gallery": _gallery(results),
        "tasks": _tasks(results.tasks),
        "models": "".join(_section(entry, results) for entry in results.entries),
        "notes": _notes(results),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


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
    flags = {e.row.name: [f for s in e.studies for f in s.flags] for e in results.entries}
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
        flagged = flags.get(best.name)
        told += f"; flagged: {', '.join(flagged)}" if flagged else ""
        lines.append(
            f'<li><span>{title}</span> <a href="#model-{escape(best.name)}">{escape(best.title)}'
            f"</a> <small>{escape(told)}</small></li>"
        )
    return "".join(lines)


def _gallery(results: Results) -> str:
    originals = results.folder / "reference" / "originals.png"
    blocks = []
    for kind, (title, text) in PICTURES.items():
        figures = ""
        if kind != "map" and originals.exists():
            figures = (
                f'<figure class="real">{picture_html(originals, "Real images of the test split")}'
                "<figcaption>Real images</figcaption></figure>"
            )
        elif originals.exists():  # nothing real to map: keep each model in its column
            figures = '<figure class="blank"></figure>'
        for entry in results.entries:
            row = entry.row
            figures += (
                f'<figure data-family="{escape(row.family)}">'
                f"{picture_html(entry.folder / f'{kind}.png', f'{title} of {row.title}')}"
                f'<figcaption>{dot(row.family)}<a href="#model-{escape(row.name)}">'
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
        f"<figure>{picture_html(entry.folder / f'{kind}.png', f'{title} of {row.title}')}"
        f"<figcaption>{title}</figcaption></figure>"
        for kind, (title, _) in PICTURES.items()
    )
    config = yaml.safe_dump(card.get("config") or {}, sort_keys=False, allow_unicode=True)
    curves = curves_svg(entry.history) if entry.history else '<p class="absent">no curves</p>'
    return (
        f'<article class="model" id="model-{escape(row.name)}" '
        f'data-family="{escape(row.family)}">'
        f'<header><h3>{escape(row.title)}</h3><p class="kicker">{dot(row.family)}'
        f"{escape(row.family)} · <code>{escape(row.name)}</code></p></header>"
        f'<p class="idea">{escape(str(card.get("idea") or ""))}</p>{_objective(card)}'
        f'<dl class="told">{told}</dl><div class="pictures">{pictures}</div>'
        f"{''.join(finding_html(study) for study in entry.studies)}"
        f'<div class="detail"><div>{numbers_table(entry, results)}</div>'
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


def _objective(card: Mapping[str, Any]) -> str:
    """The model's equations as its file states them, unless that paragraph is the paper's."""
    text = textwrap.dedent(str(card.get("objective") or "")).strip("\n")
    same = " ".join(text.split()) == " ".join(str(card.get("paper") or "").split())
    return "" if same else f'<pre class="objective">{escape(text)}</pre>'


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
