"""The objective of each model as MathML, and what one should see (model_notes.yaml)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MODELS = "latentlab.models."
FUNCTION = r"<mi>(?:log|exp|tanh|dim|det)</mi>"
NAME = re.compile(r"<mo>((?!min|max|argmin)[A-Za-z]{2,})</mo>")
THIN_SPACE = '<mspace width="0.167em"/>'


@dataclass(frozen=True)
class Note:
    """`objective`: one MathML element for each formula. `see`: what one should see; `why`."""

    objective: tuple[str, ...]
    see: str
    why: str


def note_of(
    class_path: str, config: str = "", arguments: Mapping[str, Any] | None = None
) -> Note | None:
    """The note of the file in models/ that has the class; None for a class of a user.

    `arguments`: those of the class; the objective is that of their loss. A config of this class,
    such as deep_ae_2d, can have sentences of its own.
    """
    if not class_path.startswith(MODELS):
        return None
    found = _notes().get(class_path.removeprefix(MODELS).partition(".")[0])
    if found is None:
        return None
    words = found | (found.get("configs") or {}).get(config, {})
    lines = _objective(found, arguments or {})
    return Note(tuple(map(mathml, lines)), words["see"], words["why"])


def _objective(note: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """The formulas for these arguments of the class; a dotted name is in a nested mapping."""
    lines = note["objective"]
    for name, values in (note.get("settings") or {}).items():
        lines = values.get(_key(arguments, name), lines)
    terms = [
        values[key]
        for name, values in (note.get("terms") or {}).items()
        if (key := _key(arguments, name)) in values
    ]
    return [*lines, *terms]


def _key(arguments: Mapping[str, Any], name: str) -> Any:
    """The value of an argument; "number" for a number but 0; None if it is not given."""
    *parents, last = name.split(".")
    for parent in parents:
        inner = arguments.get(parent)
        arguments = inner if isinstance(inner, Mapping) else {}
    value = arguments.get(last)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "number" if is_number and value else value


@cache  # the page is written anew after each evaluation
def mathml(latex: str) -> str:
    """One formula as a MathML element. Raises ValueError for a command that is not known."""
    from latex2mathml.converter import convert

    text = convert(latex, display="block")
    text = text.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")  # \sim is a relation
    if "\\" in text:
        raise ValueError(f"{latex!r} has a command that latex2mathml does not know")
    text = NAME.sub(r"<mi>\1</mi>", text)  # KL(…) and not KL (…)
    text = re.sub(rf"(</mi>|</msub>)({FUNCTION})", rf"\1{THIN_SPACE}\2", text)
    return re.sub(rf"({FUNCTION})(?!<mo)", rf"\1{THIN_SPACE}", text)


@cache
def _notes() -> dict[str, Any]:
    text = (Path(__file__).parent / "model_notes.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)
