"""One training of each model, with 95 % intervals: the first table of docs/results.md.

    make repro && python bench/intervals.py         # of this project
    python bench/intervals.py --write               # into docs/results.md
    python bench/intervals.py --folder PROJECT

± is half of the interval that `latentlab results --json` has. It runs nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import results
from tables import table_lines, update_table

TABLE = "mnist_5k, one training"
COLUMNS = {  # header → (metric, digits, factor)
    "FID": results.COLUMNS["FID"],
    "FID∞": ("fid_infinity", 1, 1),
    **{name: results.COLUMNS[name] for name in ("class FID", "KID", "precision", "recall")},
    "authenticity": ("novelty/authenticity", 2, 1),
    "SSE": results.COLUMNS["SSE"],
    "probe %": ("probe_accuracy", 1, 100),
}
BASELINES = {
    "real": "real images (real vs. real)",
    "PCA-32": "PCA-32, one Gaussian",
    "noise": "uniform noise",
    "pixels": "raw pixels",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=results.ROOT, help="a project (this one)")
    parser.add_argument("--write", action="store_true", help="into docs/results.md too")
    args = parser.parse_args()
    command = [sys.executable, "-m", "latentlab", "results", "--json", "--baselines"]
    done = subprocess.run(command, cwd=args.folder, stdout=subprocess.PIPE, check=True)
    found = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    models = [name for name, row in found.items() if row["type"] == "model"]
    models.sort(key=lambda name: float(found[name]["metrics"]["fid"]))
    labels = {name: f"`{name}`" for name in models} | BASELINES
    rows = {label: cells(found[name]["metrics"]) for name, label in labels.items() if name in found}
    print("\n".join(table_lines(list(COLUMNS), rows)))
    if args.write:
        update_table(results.PAGE, TABLE, rows, keep=False)


def cells(metrics: Mapping[str, float]) -> dict[str, str]:
    """Column → value ± half of its interval, as far as the model has them."""
    row = {}
    for column, (metric, digits, factor) in COLUMNS.items():
        if metric not in metrics:
            continue
        row[column] = f"{metrics[metric] * factor:,.{digits}f}"
        if (low := metrics.get(f"{metric}_low")) is not None:
            half = (metrics[f"{metric}_high"] - low) / 2 * factor
            row[column] += f" ± {half:.{digits}f}"
    return row


if __name__ == "__main__":
    main()
