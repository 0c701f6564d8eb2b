"""The comparison page: one HTML file that loads nothing from the network.

The templates escape all text from outside, such as class names and configurations. Equal results
give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from latentlab.report.card import card_of, groups_of, result_of
from latentlab.report.comparison import Comparison
from latentlab.report.data_section import data_of
from latentlab.report.evidence import evidence_of
from latentlab.report.facts import data_name, facts_of, families_of, heading_of, lead_of
from latentlab.report.few_images import few_sentence, few_text
from latentlab.report.headlines import flags_of, headlines_of
from latentlab.report.metrics import Metric, Row
from latentlab.report.pictures import Pictures
from latentlab.report.seeds import spread_note
from latentlab.report.stored_results import View
from latentlab.report.view import cell, columns_of, presets_of, view_of

FOLDER = Path(__file__).parent
SCRIPTS = ("core", "charts", "explore", "table", "model", "overview", "compare", "lecture", "main")
ARROW = {1: "↑", -1: "↓", 0: ""}
DIRECTION = {1: ", higher is better", -1: ", lower is better", 0: ""}
WORDS = {1: "↑ higher is better", -1: "↓ lower is better", 0: ""}


def render_page(comparison: Comparison) -> str:
    """Return the page as one HTML document."""
    pictures = Pictures()
    numbers = view_of(comparison, pictures)
    script = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    columns, presets = columns_of(comparison), presets_of(comparison)
    tasks = [result_of(task, "task", pictures) for task in comparison.tasks]
    models = [card_of(model, comparison, pictures) for model in comparison.models]
    dataset = data_of(comparison, pictures)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            # the security policy allows only the script with this hash, whatever a class is called
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            script=Markup(script),
            css=Markup(_asset("page.css")),
            data=data_name(comparison),
            data_json=_json(numbers),
            pictures_json=_json(pictures.content),
            heading=heading_of(comparison),
            lead=lead_of(comparison),
            pending=comparison.pending,
            skipped=comparison.skipped,
            facts=facts_of(comparison),
            headlines=headlines_of(comparison),
            presets=presets,
            shown=presets[0]["keys"],
            families=families_of(comparison),
            columns=columns,
            spread=spread_note(comparison.rows, [metric.key for metric in columns]),
            few={metric.key: few_sentence(metric.key, comparison) for metric in columns},
            rows=[_row(row, columns, comparison) for row in comparison.rows],
            models=models,
            tasks=tasks,
            dataset=dataset,
            evidence=evidence_of(comparison),
            unreliable=comparison.unreliable,
            arrow=ARROW,
            direction=DIRECTION,
            words=WORDS,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"groupby_order": groups_of, "code": code_spans, "few": few_text}
    return environment


def code_spans(text: str) -> Markup:
    """Escaped text, with `code` in backticks as an element."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _asset(name: str) -> str:
    return (FOLDER / "assets" / name).read_text(encoding="utf-8")


def _json(content: Any) -> Markup:
    """JSON that is safe inside a script element: no “<”, “>”, “&” and no line separators."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _row(row: Row, columns: Sequence[Metric], comparison: Comparison) -> View:
    warnings = next((m.warnings for m in comparison.models if m.row is row), [])
    return {
        "name": row.name,
        "title": row.title,
        "family": row.family,
        "warnings": flags_of(warnings),
        "labels": f"{row.values.get('num_labels', 0):,.0f}" if row.values.get("num_labels") else "",
        "cells": {
            metric.key: {"spread": "", "beaten": "", "few": None} | cell(row, metric, comparison)
            if metric.key in row.values
            else None
            for metric in columns
        },
    }
