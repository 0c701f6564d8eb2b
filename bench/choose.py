"""One setting of one model, several values, scored on validation images.

    python bench/choose.py sparse_l1_ae model.init_args.penalty_weight 0.03 0.1 0.3
    python bench/choose.py vae trainer.max_epochs 25 50 100
    python bench/choose.py conv_ae . '{trainer.batch_size: 64, model.init_args.lr: 1.0e-3}'
    LATENTLAB_DATA=… python bench/choose.py … --data mnist --diagnostics sparsity

The settings of configs/ were chosen with this script. It computes all metrics of the evaluation
on the validation images and does not read the test images. The config file need not have the key. A
value that is a mapping sets several keys below the key; "." is the whole config.
It works in .bench/DATA-choose and uses the prepared data and the classifier of bench/results.py.
It creates them if they are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import results
import yaml

COLUMNS = {"FID": "fid", "SSE": "reconstruction_sse", "probe": "probe_accuracy"}
LINKED = ("data", "runs/classifier")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("key", help='a key of the config, as model.init_args.lr; "." for all')
    parser.add_argument("values", nargs="+", type=yaml.safe_load)
    parser.add_argument(
        "--diagnostics",
        nargs="*",
        default=[],
        help="of these, or of the model's own test step: printed too",
    )
    results.add_data_option(parser)
    args = parser.parse_args()
    first = results.run_shared(results.work_folder(args.data), args.data)
    for value in args.values:
        folder = variant(first, args.model, args.key, value)
        run = folder / "runs" / args.model
        results.run(folder, "train", run, args.model)
        cost = json.loads((run / "cost.json").read_text())
        values = {
            "train s": cost["train_seconds"],
            **validate(folder, args.model, args.diagnostics),
        }
        listed = ", ".join(f"{name} {number:.4g}" for name, number in values.items())
        print(f"{args.model} {args.key}={value}: {listed}", flush=True)


def variant(first: Path, model: str, key: str, value: Any) -> Path:
    """Create a project folder with `value` at `key` of the model's config. Train nothing."""
    folder = first.with_name(f"{first.name}-choose")
    for made in ("configs", "runs"):
        shutil.rmtree(folder / made, ignore_errors=True)
    shutil.copytree(first / "configs", folder / "configs")
    shutil.copy(first / "params.yaml", folder)
    for name in LINKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).symlink_to(first / name)
    path = folder / "configs" / f"{model}.yaml"
    config = yaml.safe_load(path.read_text())
    for changed, new in changes(key, value).items():
        set_key(config, changed, new)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def changes(key: str, value: Any) -> dict[str, Any]:
    """Return dotted key → value: of one value, or of a mapping of values below `key`."""
    if not isinstance(value, dict):
        return {key: value}
    return {f"{key}.{below}".lstrip("."): new for below, new in value.items()}


def set_key(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of a nested dict. Sections that it lacks are created."""
    *parents, last = key.split(".")
    for part in parents:
        config = config.setdefault(part, {})
    config[last] = value


def validate(folder: Path, name: str, diagnostics: list[str]) -> dict[str, float]:
    """Return the metrics of a model on the validation images instead of the test images."""
    from latentlab.config import load_project
    from latentlab.data.prepared import read_split
    from latentlab.diagnostics import run_diagnostics
    from latentlab.evaluation.evaluate import evaluate
    from latentlab.evaluation.reference import load_reference
    from latentlab.evaluation.setup import make_evaluator
    from latentlab.inference.trained import load_trained

    os.chdir(folder)
    project = load_project(folder)
    evaluator = make_evaluator(project, load_trained("classifier", project=folder).module)
    evaluator = replace(evaluator, test=read_split(project.prepared, "val"))
    pca = load_reference(project.reference / "reference.pt").pca
    trained = load_trained(name, project=folder)
    metrics, _ = evaluate(trained, evaluator, evaluator.reference(pca))
    values = {label: metrics[key] for label, key in COLUMNS.items() if key in metrics}
    values |= {key: value for key, value in metrics["test"].items() if key in diagnostics}
    for name, result in run_diagnostics(trained, evaluator):
        if name in diagnostics:
            values |= {f"{name} {key}": value for key, value in result.metrics.items()}
    return values


if __name__ == "__main__":
    main()
