"""Write measured rows into the tables of docs/.

A table is found by the comment `<!-- name -->` on a line of its own above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def update_table(path: Path, name: str, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the rows of a Markdown table, or append those that it does not have.

    rows: first cell → {column → cell}. A column of the table that a row lacks gets –; a column
    that the table lacks is left out. Raises SystemExit for a file without the table.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    marker = f"<!-- {name} -->"
    if marker not in lines:
        raise SystemExit(f"{path} has no line {marker}: put it above the table to be written")
    head = next(i for i in range(lines.index(marker), len(lines)) if lines[i].startswith("|"))
    end = next((i for i in range(head, len(lines)) if lines[i][:1] != "|"), len(lines))
    table = {_cells(line)[0]: line for line in lines[head + 2 : end]}
    columns = _cells(lines[head])[1:]
    for first, row in rows.items():
        table[first] = f"| {' | '.join([first, *(row.get(column, '–') for column in columns)])} |"
    lines[head + 2 : end] = table.values()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
