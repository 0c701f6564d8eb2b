"""One setting of one model, several values, scored on MNIST's validation images.

    LATENTLAB_DATA=… python bench/choose.py sparse_l1_ae model.init_args.penalty_weight 0.03 0.1 0.3
    LATENTLAB_DATA=… python bench/choose.py … --diagnostics sparsity

The settings of configs/ were chosen with this script. It computes all metrics of the evaluation
on the validation images and does not read the test images.
It works in .bench/choose and uses the prepared data and the classifier of bench/mnist.py. It
creates them if they are missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mnist
import yaml

COLUMNS = {"FID": "fid", "SSE": "reconstruction_sse", "probe": "probe_accuracy"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("key", help="a key of the config, such as model.init_args.lr")
    parser.add_argument("values", nargs="+", type=yaml.safe_load)
    parser.add_argument("--diagnostics", nargs="*", default=[], help="metrics that are printed too")
    args = parser.parse_args()
    first = mnist.project(mnist.WORK, 0, 0)
    mnist.run(first, "prepare", first / "data/prepared")
    mnist.run(first, "classifier", first / "runs/classifier")
    mnist.run(first, "reference", first / "results/reference")
    for value in args.values:
        folder = variant(first, args.model, args.key, value)
        command = [sys.executable, "-m", "latentlab.stages", "train", args.model]
        environment = mnist.environment()
        subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
        numbers = validate(folder, args.model, args.diagnostics)
        said = ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
        print(f"{args.model} {args.key}={value}: {said}", flush=True)


def variant(first: Path, model: str, key: str, value: Any) -> Path:
    """Create a project folder with `value` at `key` of the model's config. Train nothing."""
    folder = mnist.WORK.with_name("choose")
    for made in ("configs", "runs"):
        shutil.rmtree(folder / made, ignore_errors=True)
    shutil.copytree(first / "configs", folder / "configs")
    shutil.copy(first / "params.yaml", folder)
    for name in ("data", "runs/classifier"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).symlink_to(first / name)
    path = folder / "configs" / f"{model}.yaml"
    config = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    place = config
    for part in parents:
        place = place[part]
    place[last] = value
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def validate(folder: Path, name: str, diagnostics: list[str]) -> dict[str, float]:
    """Return the metrics of a model on the validation images instead of the test images."""
    from latentlab.config import load_project
    from latentlab.data.prepared import read_split
    from latentlab.diagnostics import run_diagnostics
    from latentlab.evaluation.evaluate import evaluate
    from latentlab.evaluation.evaluator import load_reference, make_evaluator
    from latentlab.inference.trained import load_trained

    os.chdir(folder)
    project = load_project(folder)
    evaluator = make_evaluator(project, load_trained("classifier", project=folder).module)
    evaluator = replace(evaluator, test=read_split(project.prepared, "val"))
    _, pca = load_reference(project.reference / "reference.pt")
    trained = load_trained(name, project=folder)
    metrics = evaluate(trained, evaluator, real=evaluator.real_features(), pca=pca)
    values = {label: metrics[key] for label, key in COLUMNS.items() if key in metrics}
    for name, result in run_diagnostics(trained, evaluator):
        if name in diagnostics:
            values |= {f"{name} {key}": value for key, value in result.metrics.items()}
    return values


if __name__ == "__main__":
    main()
