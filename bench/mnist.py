"""The table of models on MNIST, over several training seeds.

    LATENTLAB_DATA=… make mnist                           # the models of params.yaml
    python bench/mnist.py --models vae wgan --seeds 0      # some
    python bench/mnist.py --models all --seeds 0           # every model of zoo.yaml

Works in .bench/mnist, so the project's own results stay. Split and judge are those of the first
seed for all, since Fréchet distances of two feature spaces do not compare; what varies is the
training. What is already measured is not measured again: remove .bench to start anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from latentlab.config import load_project

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".bench" / "mnist"
SHARED = ("data/prepared", "data/reference", "runs/judge", "results/reference")
COLUMNS = {  # header → (key, digits, factor)
    "FID": ("fid", 1, 1),
    "KID": ("kid", 1, 1),
    "precision": ("precision", 2, 1),
    "recall": ("recall", 2, 1),
    "SSE": ("reconstruction_sse", 2, 1),
    "PSNR dB": ("psnr_db", 2, 1),
    "probe %": ("probe_accuracy", 2, 100),
    "judge %": ("judge_accuracy", 2, 100),
    "train s": ("train_seconds", 0, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(load_project(ROOT).models))
    args = parser.parse_args()
    if args.models == ["all"]:
        args.models = list(yaml.safe_load((ROOT / "zoo.yaml").read_text())["models"])
    for seed in args.seeds:
        folder = project(seed, args.seeds[0])
        if seed == args.seeds[0]:
            run(folder, "prepare", folder / "data/prepared")
            run(folder, "judge", folder / "results/reference")
        for name in args.models:
            run(folder, "train", folder / "runs" / name, name)
            run(folder, "evaluate", folder / "results" / name, name)
    print_tables(args.seeds, args.models)


def project(seed: int, first: int) -> Path:
    """A project folder for one seed, on the first one's data and judge."""
    folder = WORK / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["seed"], params["data"]["name"] = seed, "mnist"
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    if seed != first:
        for name in SHARED:
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(WORK / f"seed-{first}" / name)
    return folder


def run(folder: Path, stage: str, out: Path, *names: str) -> None:
    """Run a stage in `folder`, unless what it makes is there."""
    if out.exists():
        return
    data = os.environ.get("LATENTLAB_DATA", "data/raw")
    environment = {**os.environ, "LATENTLAB_DATA": str((ROOT / data).resolve())}
    command = [sys.executable, "-m", "latentlab.stages", stage, *names]
    print(f"# {folder.name}: {stage} {' '.join(names)}", file=sys.stderr, flush=True)
    subprocess.run(command, cwd=folder, env=environment, check=True)


def print_tables(seeds: list[int], models: list[str]) -> None:
    """Markdown: mean ± standard deviation, median seconds; then each model's own terms."""
    results = [WORK / f"seed-{seed}" / "results" for seed in seeds]
    print(f"| model | {' | '.join(COLUMNS)} |")
    print(f"|---|{'---:|' * len(COLUMNS)}")
    for name in models:
        rows = [load(folder / name) for folder in results]
        print(f"| `{name}` | {' | '.join(cells(rows))} |")
    reference = json.loads((results[0] / "reference" / "metrics.json").read_text())
    for label, key in (
        ("real images (floor)", "real"),
        ("PCA-32, one Gaussian", "pca_gaussian"),
        ("uniform noise", "noise"),
        ("raw pixels", "pixels"),
    ):
        print(f"| {label} | {' | '.join(cells([reference[key]]))} |")
    for name in models:
        rows = [load(folder / name) for folder in results]
        own = sorted(
            key
            for key in rows[0]
            if key.startswith(("test_", "pca_angle")) or key == "evaluate_seconds"
        )
        print(f"\n{name}: " + ", ".join(f"{key} {spread(rows, key, 3)}" for key in own))


def load(folder: Path) -> dict[str, Any]:
    """One model's numbers in one flat dict."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for group in ("test", "pca"):
        for key, value in metrics.pop(group, {}).items():
            metrics[f"{group}_{key}"] = value
    return metrics | json.loads((folder / "cost.json").read_text())


def cells(rows: list[dict[str, Any]]) -> list[str]:
    return [
        spread(rows, key, digits, factor) if key in rows[0] else "–"
        for key, digits, factor in COLUMNS.values()
    ]


def spread(rows: list[dict[str, Any]], key: str, digits: int, factor: float = 1) -> str:
    values = [row[key] * factor for row in rows]
    if key.endswith("_seconds"):
        return f"{statistics.median(values):.{digits}f}"  # a busy machine skews means
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
