"""The description of a model: the docstring of its file. It has this form:

Title: summary.

    the objective, indented

Prose.

Paper: authors and year, title, equations.
Paper: one for each paper; a long one continues on the next line.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

PAPER = "Paper:"


@dataclass(frozen=True)
class Description:
    """The parts of a docstring. A part that the docstring does not have is empty."""

    title: str
    summary: str
    objective: str
    papers: tuple[str, ...]


def describe(docstring: str | None) -> Description:
    """Read the docstring of a model's file."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    title, _, summary = " ".join(paragraphs[0].split()).partition(": ")
    blocks = [text for text in paragraphs[1:] if text.strip() and text.startswith(" ")]
    objective = textwrap.dedent(blocks[0]).strip("\n") if blocks else ""
    lines = [line for text in paragraphs[1:] for line in ("", *text.splitlines())]
    return Description(title, summary, objective, tuple(_papers(lines)))


def _papers(lines: list[str]) -> list[str]:
    """The text after each `Paper:`, up to the next one or to an empty line."""
    papers: list[str] = []
    inside = False
    for line in lines:
        if line.startswith(PAPER):
            papers.append(line.removeprefix(PAPER).strip())
        elif inside and line.strip():
            papers[-1] += " " + line.strip()
        inside = bool(line.strip()) and (inside or line.startswith(PAPER))
    return papers
