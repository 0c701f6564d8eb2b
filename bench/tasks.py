"""Run tasks on mnist_5k or on full MNIST: the values in the headers of configs/tasks/*.yaml.

    python bench/tasks.py anomaly_detection retrieval …     # default: all
    LATENTLAB_DATA=… python bench/tasks.py retrieval --data mnist

Works in .bench/DATA, as bench/results.py. Prepared data, the classifier and trained models
are used if they exist, and made otherwise. Each call runs its tasks again.
"""

from __future__ import annotations

import argparse
import shutil
import sys

import results

from latentlab.config.selection import task_entry, task_names
from latentlab.evaluation.results import StoredResult, read_result


def main() -> None:
    known = task_names(results.ROOT)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    results.add_data_option(parser)
    args = parser.parse_args()
    names = args.names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown task {unknown[0]!r}: choose from {', '.join(known)}")
    folder = results.run_shared(results.work_folder(args.data), args.data)
    for model in {task_entry(folder, name)["model"] for name in names} - {"classifier"}:
        results.run(folder, "train", folder / "runs" / model, model)
    for name in names:
        out = folder / "results/tasks" / name
        shutil.rmtree(out, ignore_errors=True)
        results.run(folder, "tasks", out, name)
        print_result(read_result(out / "result"), (out / "cost.json").read_text())


def print_result(result: StoredResult, cost: str) -> None:
    """Print the table as Markdown, then the summary and the warnings."""
    print(f"\n## {result.title}  {' '.join(cost.split())}\n")
    columns = list(dict.fromkeys(key for row in result.table.values() for key in row))
    print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, row in result.table.items():
        cells = [f"{row[key]:.4g}" if key in row else "–" for key in columns]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{result.summary}")
    for warning in result.warnings:
        print(f"warning: {warning}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
