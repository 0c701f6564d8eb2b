"""Run tasks on MNIST: the values in the headers of configs/tasks/*.yaml.

    LATENTLAB_DATA=… python bench/tasks.py anomaly_detection retrieval …     # default: all

Works in .bench/mnist/seed-0, as bench/mnist.py. Prepared data, the classifier and trained models
are used if they exist, and made otherwise. Each call runs its tasks again.
"""

from __future__ import annotations

import argparse
import shutil
import sys

import mnist

from latentlab.config.selection import task_entry, task_names
from latentlab.evaluation.results import StoredResult, read_result


def main() -> None:
    known = task_names(mnist.ROOT)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--data", choices=("mnist",), default="mnist")
    names = parser.parse_args().names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown task {unknown[0]!r}: choose from {', '.join(known)}")
    folder = mnist.project(mnist.WORK, 0, 0)
    mnist.run(folder, "prepare", folder / "data/prepared")
    mnist.run(folder, "classifier", folder / "runs/classifier")
    mnist.run(folder, "reference", folder / "results/reference")
    for model in {task_entry(folder, name)["model"] for name in names} - {"classifier"}:
        mnist.run(folder, "train", folder / "runs" / model, model)
    for name in names:
        out = folder / "results/tasks" / name
        shutil.rmtree(out, ignore_errors=True)
        mnist.run(folder, "tasks", out, name)
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
