"""Tasks measured on MNIST: what the headers of configs/tasks/*.yaml state.

    LATENTLAB_DATA=… python bench/tasks.py anomalies classification …     # default: all of zoo.yaml

Works in .bench/mnist/seed-0, beside bench/mnist.py, whose prepared data, judge and trained models
are used where they are there and made where not. A task is run anew at each call.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import mnist
import yaml

from latentlab.findings import Shown, read_finding


def main() -> None:
    zoo = yaml.safe_load((mnist.ROOT / "zoo.yaml").read_text())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(zoo["tasks"]))
    parser.add_argument("--data", choices=("mnist",), default="mnist")
    names = parser.parse_args().names or list(zoo["tasks"])
    if unknown := sorted(set(names) - set(zoo["tasks"])):
        parser.error(f"unknown task {unknown[0]!r}: choose from {', '.join(zoo['tasks'])}")
    folder = project(zoo)
    mnist.run(folder, "prepare", folder / "data/prepared")
    mnist.run(folder, "judge", folder / "runs/judge")
    mnist.run(folder, "reference", folder / "results/reference")
    for model in {zoo["tasks"][name]["model"] for name in names} - {"judge"}:
        mnist.run(folder, "train", folder / "runs" / model, model)
    for name in names:
        out = folder / "results/tasks" / name
        shutil.rmtree(out, ignore_errors=True)
        mnist.run(folder, "tasks", out, name)
        print_finding(read_finding(out / "finding"), (out / "cost.json").read_text())


def project(zoo: dict[str, Any]) -> Path:
    """mnist.py's folder of seed 0; its params.yaml lists everything there is."""
    folder = mnist.project(mnist.WORK, 0, 0)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | zoo, sort_keys=False))
    return folder


def print_finding(finding: Shown, cost: str) -> None:
    """The table as Markdown, then the sentence that explains it, and the flags."""
    print(f"\n## {finding.title}  {' '.join(cost.split())}\n")
    columns = list(dict.fromkeys(key for row in finding.table.values() for key in row))
    print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, row in finding.table.items():
        cells = [f"{row[key]:.4g}" if key in row else "–" for key in columns]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{finding.text}")
    for flag in finding.flags:
        print(f"flag: {flag}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
