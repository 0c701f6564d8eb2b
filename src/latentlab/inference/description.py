"""The description of a model: the docstring of its file. It has this form:

Title: summary.

    the objective, indented

Prose.

Differs from the paper: what, and with which consequence; one for each difference.

Paper: authors and year, title, equations.
Paper: one for each paper; a long one continues on the next line.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

PAPER, DIFFERS = "Paper:", "Differs from the paper:"


@dataclass(frozen=True)
class Description:
    """The parts of a docstring. A part that the docstring does not have is empty."""

    title: str
    summary: str
    objective: str
    papers: tuple[str, ...]
    differences: tuple[str, ...] = ()


def describe(docstring: str | None) -> Description:
    """Read the docstring of a model's file."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    title, _, summary = " ".join(paragraphs[0].split()).partition(": ")
    blocks = [text for text in paragraphs[1:] if text.strip() and text.startswith(" ")]
    objective = textwrap.dedent(blocks[0]).strip("\n") if blocks else ""
    lines = [line for text in paragraphs[1:] for line in ("", *text.splitlines())]
    papers, differences = _entries(lines, PAPER), _entries(lines, DIFFERS)
    return Description(title, summary, objective, papers, differences)


def _entries(lines: list[str], mark: str) -> tuple[str, ...]:
    """The text after each `mark`, up to the next mark or to an empty line."""
    entries: list[str] = []
    inside = False
    for line in lines:
        if line.startswith((PAPER, DIFFERS)) or not line.strip():
            inside = line.startswith(mark)
            entries += [line.removeprefix(mark).strip()] if inside else []
        elif inside:
            entries[-1] += " " + line.strip()
    return tuple(entries)
