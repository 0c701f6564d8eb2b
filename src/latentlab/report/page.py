"""The comparison page: one HTML file that loads nothing from the network.

Equal results give equal bytes. All text from outside, such as class names and configurations, is
escaped.
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

from latentlab.evaluation.results import StoredResult
from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.components import family_dot, figure_html, image_html, result_html
from latentlab.report.curves import curves_svg
from latentlab.report.metrics import BY_KEY, METRICS, decimals_of, text_of
from latentlab.report.table import models_table, numbers_table

FIGURES = {  # name of the PNG → title, explanation
    "samples": ("Samples", "Images decoded from sampled codes. They are not selected by hand."),
    "reconstructions": (
        "Reconstructions",
        "Pairs of rows: test images, and below them their reconstructions.",
    ),
    "interpolations": (
        "Interpolations",
        "Each row: images decoded from codes between those of two test images. For discrete codes,"
        " the codebook vectors are interpolated.",
    ),
    "map": ("t-SNE", "Features of test images in two dimensions. The color is the class."),
}
HIGHLIGHTS = (  # key of the metric, title, text; {0}: value, {1}: value of the baseline
    ("fid", "real", "Lowest FID", "FID {0}, real vs. real {1}"),
    ("reconstruction_mse", "real", "Lowest MSE", "{0} per pixel value"),
    ("probe_accuracy", "pixels", "Best linear probe", "{0} % accuracy, raw pixels {1} %"),
)


def render_page(comparison: Comparison) -> str:
    """Return the page as one HTML document. page.html has its frame, style and script."""
    frame = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", frame, re.DOTALL)
    assert script is not None
    families = list(dict.fromkeys(model.row.family for model in comparison.models))
    parts = {
        # The security policy allows only the script with this hash, whatever a class is called.
        "script_hash": base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode(),
        "data": escape(comparison.data),
        "intro": _intro(comparison, families),
        "facts": _facts(comparison),
        "highlights": _highlights(comparison),
        "chips": "".join(
            f'<button type="button" data-family="{escape(family)}" aria-pressed="false">'
            f"{family_dot(family)}{escape(family)}</button>"
            for family in families
        ),
        "table": models_table(comparison),
        "gallery": _gallery(comparison),
        "tasks": _tasks(comparison.tasks),
        "models": "".join(_section(model, comparison) for model in comparison.models),
        "notes": _notes(comparison),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def _intro(comparison: Comparison, families: Sequence[str]) -> str:
    models, count = len(comparison.models), len(families)
    return (
        f"{models} model{'s' * (models != 1)} of {count} famil{'ies' if count != 1 else 'y'}, "
        "measured with the same metrics on the same test images. Baselines: real images, PCA, raw "
        "pixels and noise." + _pending(comparison.pending)
    )


def _pending(names: Sequence[str]) -> str:
    """A sentence about models and tasks without results; empty if there are none."""
    return f" Without results so far: {escape(', '.join(names))}." if names else ""


def _value(comparison: Comparison, name: str, key: str) -> str:
    """The formatted value of a metric in the row `name`, or “–”."""
    for row in comparison.rows:
        if row.name == name and key in row.values:
            return text_of(BY_KEY[key], row.values[key], decimals_of(BY_KEY[key], comparison.rows))
    return "–"


def _facts(comparison: Comparison) -> str:
    card = comparison.dataset
    counts = card.get("counts") or {}
    shape = card.get("image_shape") or []
    classes = card.get("classes") or []
    size = f"{shape[1]} × {shape[2]} {'grey' if shape[0] == 1 else 'color'}" if shape else "–"
    names = ", ".join(map(str, classes[:12])) + (" …" if len(classes) > 12 else "")
    split = " · ".join(f"{counts[k]:,} {k}" for k in ("train", "val", "test") if k in counts)
    samples = f"{card['num_samples']:,}" if "num_samples" in card else "–"
    noise = _value(comparison, "noise", "fid")
    facts = {
        "Images": (size, f"{len(classes)} classes: {names}" if classes else "no labels"),
        "Split": (split or "–", f"split seed {card.get('split_seed', '–')}"),
        "Training seed": (
            str(comparison.seed),
            f"data sha256 {str(card.get('data_sha256', '–'))[:12]}",
        ),
        "FID features": (f"{card.get('features', '–')}", f"{samples} real and generated images"),
        "FID, real vs. real": (_value(comparison, "real", "fid"), f"noise {noise}"),
    }
    return "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(main)}</dd><dd>{escape(more)}</dd></div>"
        for term, (main, more) in facts.items()
    )


def _highlights(comparison: Comparison) -> str:
    """The best model of three metrics, with the warnings of its diagnostics."""
    warnings = {
        model.row.name: [text for result in model.diagnostics for text in result.warnings]
        for model in comparison.models
    }
    lines = []
    for key, baseline, title, template in HIGHLIGHTS:
        rows = [
            model.row
            for model in comparison.models
            if math.isfinite(model.row.values.get(key, math.nan))
        ]
        if not rows:
            continue
        best = min(rows, key=lambda row: -BY_KEY[key].better * row.values[key])
        values = _value(comparison, best.name, key), _value(comparison, baseline, key)
        text = "; warning: ".join([template.format(*values), *warnings[best.name]])
        lines.append(
            f'<li><span>{title}</span> <a href="#model-{escape(best.name)}">{escape(best.title)}'
            f"</a> <small>{escape(text)}</small></li>"
        )
    return "".join(lines)


def _gallery(comparison: Comparison) -> str:
    return "".join(
        f"<section><h3>{title}</h3><p>{text}</p>"
        f'<div class="gallery">{_gallery_figures(name, title, comparison)}</div></section>'
        for name, (title, text) in FIGURES.items()
    )


def _gallery_figures(name: str, title: str, comparison: Comparison) -> str:
    """One figure of each model, after the real images."""
    originals = comparison.folder / "reference" / "originals.png"
    figures = ""
    if name != "map" and originals.exists():
        figures = (
            f'<figure class="real">{image_html(originals, "Real images of the test split")}'
            "<figcaption>Real images</figcaption></figure>"
        )
    elif originals.exists():  # there is no map of real images: keep each model in its column
        figures = '<figure class="blank"></figure>'
    for model in comparison.models:
        row = model.row
        figures += (
            f'<figure data-family="{escape(row.family)}">'
            f"{image_html(model.folder / f'{name}.png', f'{title} of {row.title}')}"
            f'<figcaption>{family_dot(row.family)}<a href="#model-{escape(row.name)}">'
            f"{escape(row.title)}</a></figcaption></figure>"
        )
    return figures


def _section(model: ModelResults, comparison: Comparison) -> str:
    """All about one model."""
    row, card = model.row, model.card
    figures = "".join(
        figure_html(model.folder / f"{name}.png", alt=f"{title} of {row.title}", caption=title)
        for name, (title, _) in FIGURES.items()
    )
    summary = str(card.get("summary") or "")
    config = yaml.safe_dump(card.get("config") or {}, sort_keys=False, allow_unicode=True)
    curves = curves_svg(model.history) if model.history else '<p class="absent">no curves</p>'
    return (
        f'<article class="model" id="model-{escape(row.name)}" '
        f'data-family="{escape(row.family)}">'
        f'<header><h3>{escape(row.title)}</h3><p class="kicker">{family_dot(row.family)}'
        f"{escape(row.family)} · <code>{escape(row.name)}</code></p></header>"
        f'<p class="summary">{escape(summary[:1].upper() + summary[1:])}</p>{_objective(card)}'
        f'<dl class="properties">{_properties(card)}</dl><div class="figures">{figures}</div>'
        f"{''.join(result_html(diagnostic) for diagnostic in model.diagnostics)}"
        f'<div class="detail"><div>{numbers_table(model, comparison)}</div>'
        f"<div><h4>Training</h4>{curves}</div></div>"
        f"<details><summary>Configuration</summary><pre>{escape(config)}</pre></details></article>"
    )


def _properties(card: Mapping[str, Any]) -> str:
    """Papers, sampler, size of the training and device, as far as the card has them."""
    papers = card.get("papers") or []
    total = card.get("images_seen")
    properties = {
        "Papers" if len(papers) > 1 else "Paper": papers,
        "Sampler": [card.get("sampler")],
        "Training": [f"{total:,} images" if isinstance(total, int) else None],
        "Device": [card.get("device")],
    }
    return "".join(
        f"<div><dt>{term}</dt>"
        + "".join(f"<dd>{escape(str(value))}</dd>" for value in values)
        + "</div>"
        for term, values in properties.items()
        if any(values)
    )


def _tasks(tasks: Sequence[StoredResult]) -> str:
    if not tasks:
        return ""
    return (
        '<h2 id="tasks">Downstream tasks</h2><p class="prose">Uses of the trained models. Each is '
        f"compared with simple baselines.</p>{''.join(result_html(t, level=3) for t in tasks)}"
    )


def _objective(card: Mapping[str, Any]) -> str:
    """The equations in the docstring of the model's file."""
    text = textwrap.dedent(str(card.get("objective") or "")).strip("\n")
    return f'<pre class="objective">{escape(text)}</pre>' if text else ""


def _notes(comparison: Comparison) -> str:
    """Direction, range, source and meaning of each metric."""
    notes = ""
    for metric in METRICS:
        if metric.optional and not any(metric.key in row.values for row in comparison.rows):
            continue
        direction = {1: "↑ higher is better", -1: "↓ lower is better", 0: ""}[metric.better]
        parts = [text for text in (direction, metric.range, metric.source) if text]
        notes += (
            f"<div><dt>{escape(metric.label)} <small>{escape(' · '.join(parts))}</small></dt>"
            f"<dd>{escape(metric.meaning)}</dd></div>"
        )
    return notes
