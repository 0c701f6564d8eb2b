"""One setting of one model, several values, scored on MNIST's validation images.

    LATENTLAB_DATA=… python bench/choose.py sparse_l1_ae model.init_args.weight 0.03 0.1 0.3
    LATENTLAB_DATA=… python bench/choose.py … --studies sparsity

How settings of configs/ were chosen: by every number of the yardstick, with validation images in
the place of the test images, which are not read. Works in .bench/choose, on the prepared data and
the judge of bench/mnist.py, which are made where they are missing.
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
    parser.add_argument("key", help="a path into the model's config, as model.init_args.weight")
    parser.add_argument("values", nargs="+", type=yaml.safe_load)
    parser.add_argument("--studies", nargs="*", default=[], help="whose numbers are wanted too")
    args = parser.parse_args()
    first = mnist.project(mnist.WORK, 0, 0)
    mnist.run(first, "prepare", first / "data/prepared")
    mnist.run(first, "judge", first / "runs/judge")
    mnist.run(first, "reference", first / "results/reference")
    for value in args.values:
        folder = variant(first, args.model, args.key, value)
        command = [sys.executable, "-m", "latentlab.stages", "train", args.model]
        environment = mnist.environment()
        subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
        numbers = validate(folder, args.model, args.studies)
        said = ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
        print(f"{args.model} {args.key}={value}: {said}", flush=True)


def variant(first: Path, model: str, key: str, value: Any) -> Path:
    """A project folder where `key` of the model's config is `value`; nothing trained in it yet."""
    folder = mnist.WORK.with_name("choose")
    for made in ("configs", "runs"):
        shutil.rmtree(folder / made, ignore_errors=True)
    shutil.copytree(first / "configs", folder / "configs")
    shutil.copy(first / "params.yaml", folder)
    for name in ("data", "runs/judge"):
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


def validate(folder: Path, name: str, studies: list[str]) -> dict[str, float]:
    """The yardstick's numbers with validation images for test images."""
    from latentlab.config import load_project
    from latentlab.data.prepared import read_split
    from latentlab.evaluation import load_reference, yardsticks
    from latentlab.stages.evaluate import measure
    from latentlab.studies import studies_of
    from latentlab.trained import load_trained

    os.chdir(folder)
    project = load_project(folder)
    yard = yardsticks(project, load_trained("judge", project=folder).module)
    yard = replace(yard, test=read_split(project.prepared, "val"))
    _, pca = load_reference(project.reference / "reference.pt")
    trained = load_trained(name, project=folder)
    metrics = measure(trained, yard, yard.real_features(), pca)
    numbers = {label: metrics[key] for label, key in COLUMNS.items() if key in metrics}
    wanted = [(study, found) for study, found in studies_of(trained, yard) if study in studies]
    return numbers | {f"{s} {key}": v for s, found in wanted for key, v in found.numbers.items()}


if __name__ == "__main__":
    main()
