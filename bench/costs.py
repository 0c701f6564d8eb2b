"""Seconds of the classifier, of each model and of each task: what `make repro` costs.

    make repro && python bench/costs.py             # of this project
    python bench/costs.py --write                   # into docs/results.md and usual_seconds.json
    python bench/costs.py --folder .bench/mnist_5k

Reads the files cost.json that the stages write, and the seconds of whole stages, by which
`latentlab repro` orders the stages of its first run. It runs nothing. The seconds mean something
only if the machine was idle, and if there were no more stages at a time than cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from results import PAGE, ROOT
from tables import table_lines, update_table

from latentlab.config import load_project
from latentlab.pipeline.durations import PLACE, USUAL

COLUMNS = {  # header → (folder, key)
    "train s": ("runs", "train_seconds"),
    "evaluate s": ("results", "evaluate_seconds"),
    "task s": ("results/tasks", "task_seconds"),
}
TABLE = "mnist_5k, costs"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT, help="a project (this one)")
    parser.add_argument("--write", action="store_true", help="into both files too")
    args = parser.parse_args()
    root = args.folder.resolve()
    project = load_project(root)
    names = ["classifier", *project.models, *project.tasks]
    found = {name: row for name in names if (row := seconds(root, name))}
    if not found:
        raise SystemExit(
            f"{root} has no cost.json below runs/ and results/: run `make repro` first"
        )
    if missing := [name for name in names if name not in found]:
        print(f"not run: {', '.join(missing)}")
    rows = cost_rows(found)
    print("\n".join(table_lines(list(COLUMNS), rows, first="stage")))
    if args.write:
        update_table(PAGE, TABLE, rows, keep=False)
        stages = json.loads((root / PLACE).read_text())
        USUAL.write_text(json.dumps(dict(sorted(stages.items())), indent=1) + "\n")


def seconds(root: Path, name: str) -> dict[str, float]:
    """Column → seconds of one model or task, as far as its stages have run."""
    row = {}
    for column, (folder, key) in COLUMNS.items():
        path = root / folder / name / "cost.json"
        if path.exists():
            row[column] = json.loads(path.read_text())[key]
    return row


def cost_rows(found: dict[str, dict[str, float]]) -> dict[str, dict[str, str]]:
    """First cell → {column → cell}. The last row has the sums."""
    rows = {f"`{name}`": row for name, row in found.items()}
    rows["sum"] = {column: sum(row.get(column, 0) for row in found.values()) for column in COLUMNS}
    return {
        name: {column: f"{value:.1f}" for column, value in row.items()}
        for name, row in rows.items()
    }


if __name__ == "__main__":
    main()
