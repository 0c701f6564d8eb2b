"""Read and write the tables of docs/, and print such tables.

A table of a page is found by the comment `<!-- name -->` on a line of its own above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Rows = Mapping[str, Mapping[str, str]]  # first cell → {column → cell}


def update_table(path: Path, name: str, rows: Rows, *, keep: bool = True) -> None:
    """Replace the rows of a Markdown table, or append those that it does not have.

    A column of the table that a row lacks gets –; a column that the table lacks is left out. With
    `keep` False, the rows of the table that `rows` lacks are removed. Raises SystemExit for a file
    without the table.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    head, end = _find(lines, path, name)
    table = {_cells(line)[0]: line for line in lines[head + 2 : end]} if keep else {}
    columns = _cells(lines[head])[1:]
    table |= {first: _line(first, row, columns) for first, row in rows.items()}
    lines[head + 2 : end] = table.values()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_table(path: Path, name: str) -> dict[str, dict[str, str]]:
    """Return the rows of a Markdown table: first cell → {column → cell}.

    Raises SystemExit for a file without the table.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    head, end = _find(lines, path, name)
    columns, rows = _cells(lines[head])[1:], map(_cells, lines[head + 2 : end])
    return {first: dict(zip(columns, rest, strict=True)) for first, *rest in rows}


def table_lines(columns: Sequence[str], rows: Rows, *, first: str = "model") -> list[str]:
    """Return the lines of a Markdown table. `first`: header of the first column."""
    head = [f"| {' | '.join([first, *columns])} |", f"|---|{'---:|' * len(columns)}"]
    return head + [_line(label, row, columns) for label, row in rows.items()]


def _find(lines: Sequence[str], path: Path, name: str) -> tuple[int, int]:
    """Return the index of the head of a table, and that of the line after its last row."""
    marker = f"<!-- {name} -->"
    if marker not in lines:
        raise SystemExit(f"{path} has no line {marker}: put it above the table to be written")
    head = next(i for i in range(lines.index(marker), len(lines)) if lines[i].startswith("|"))
    return head, next((i for i in range(head, len(lines)) if lines[i][:1] != "|"), len(lines))


def _line(first: str, row: Mapping[str, str], columns: Sequence[str]) -> str:
    return f"| {' | '.join([first, *(row.get(column, '–') for column in columns)])} |"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
