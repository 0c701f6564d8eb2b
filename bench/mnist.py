"""The table of models on MNIST, over several training seeds.

    LATENTLAB_DATA=… make mnist                           # the models of params.yaml
    python bench/mnist.py --models vae wgan --seeds 0      # some
    python bench/mnist.py --models all --seeds 0           # every model of configs/
    OMP_NUM_THREADS=1 python bench/mnist.py --cpu-minutes 2    # the same time for each model

Works in .bench/mnist; the results of the project stay. All seeds use the split and the classifier
of the first one, because FIDs of two feature spaces cannot be compared. Only the training varies.
A second call skips stages whose results exist: remove .bench to start anew.

With `--cpu-minutes`, each model trains for as many whole epochs as come nearest to that time of one
core, by a trial of some seconds; the rest of its config stays. It works in a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tables import update_table

from latentlab.config import load_project
from latentlab.config.selection import model_names, select

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".bench" / "mnist"
SHARED = ("data/prepared", "data/reference", "runs/classifier", "results/reference")
COLUMNS = {  # header → (key, digits, factor)
    "FID": ("fid", 1, 1),
    "KID": ("kid", 1, 1),
    "precision": ("precision", 2, 1),
    "recall": ("recall", 2, 1),
    "SSE": ("reconstruction_sse", 2, 1),
    "PSNR dB": ("psnr_db", 2, 1),
    "probe %": ("probe_accuracy", 2, 100),
    "classifier %": ("classifier_accuracy", 2, 100),
    "train s": ("train_seconds", 0, 1),
    "CPU s": ("cpu_seconds", 0, 1),  # the whole training process, with its start and tracking
    "images": ("images_seen", 0, 1),
}
EPOCH = 54_000
TRIAL = 5120  # images
TRIAL_SECONDS = 8.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(load_project(ROOT).models))
    parser.add_argument("--cpu-minutes", type=float, help="of training for each model")
    parser.add_argument("--write", action="store_true", help="the rows into docs/results.md too")
    parser.add_argument("--rate", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rate:
        print(images_per_second(*args.rate))
        return
    if args.models == ["all"]:
        args.models = model_names(ROOT)
    minutes = args.cpu_minutes
    work = WORK.with_name(f"mnist-{minutes:g}min") if minutes else WORK
    for seed in args.seeds:
        folder = project(work, seed, args.seeds[0])
        if seed == args.seeds[0]:
            run(folder, "prepare", folder / "data/prepared")
            run(folder, "classifier", folder / "runs/classifier")
            run(folder, "reference", folder / "results/reference")
        for name in args.models:
            if minutes:
                fit_to(folder, name, 60 * minutes)
            run(folder, "train", folder / "runs" / name, name)
            run(folder, "evaluate", folder / "results" / name, name)
    print_tables(work, args.seeds, args.models)
    if args.write:
        write_rows(work, args.seeds, args.models, minutes)


def project(work: Path, seed: int, first: int) -> Path:
    """Create a project folder for one seed, with the data and the classifier of the first seed."""
    folder = work / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["seed"], params["data"]["name"] = seed, "mnist"
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    select(folder, ["all"])
    if seed != first:
        for name in SHARED:
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(work / f"seed-{first}" / name)
    return folder


def run(folder: Path, stage: str, out: Path, *names: str) -> None:
    """Run a stage in `folder`, unless its output exists."""
    if out.exists():
        return
    command = [sys.executable, "-m", "latentlab.stages", stage, *names]
    print(f"# {folder.name}: {stage} {' '.join(names)}", file=sys.stderr, flush=True)
    before = cpu_seconds()
    subprocess.run(command, cwd=folder, env=environment(), check=True)
    if stage == "train":
        (folder / f"{names[0]}.cpu.json").write_text(
            json.dumps({"cpu_seconds": cpu_seconds() - before})
        )


def environment() -> dict[str, str]:
    data = os.environ.get("LATENTLAB_DATA", "data/raw")
    return {**os.environ, "LATENTLAB_DATA": str((ROOT / data).resolve())}


def cpu_seconds() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fit_to(folder: Path, name: str, seconds: float) -> None:
    """Write into the folder's config of `name` the whole epochs that fill `seconds` of one core."""
    path, note = folder / "configs" / f"{name}.yaml", folder.parent / f"{name}.rate.json"
    config = yaml.safe_load(path.read_text())
    if not note.exists():
        command = [sys.executable, __file__, "--rate", name, str(folder / "data/prepared")]
        found = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE)
        note.write_text(json.dumps(float(found.stdout)))
    epochs = max(1, round(seconds * json.loads(note.read_text()) / EPOCH))
    batch = config["trainer"]["batch_size"]
    config["trainer"]["total_images"] = epochs * (EPOCH // batch) * batch
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def images_per_second(name: str, prepared: str) -> float:
    """Images per second of one core that `name` trains with, selection left out."""
    from speed import prepare

    from latentlab.config import load_experiment
    from latentlab.data.datamodule import ImageDataModule
    from latentlab.data.prepared import read_meta
    from latentlab.training import fit
    from latentlab.training.resume import remove_work_folder
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    data_spec, images, seconds = read_meta(Path(prepared)).data_spec, TRIAL, 0.0
    with tempfile.TemporaryDirectory() as root:
        folder, work = prepare(Path(root), TRIAL), Path(root) / "work"
        while seconds < TRIAL_SECONDS:
            experiment = load_experiment(name, data_spec, ROOT)
            trainer = replace(experiment.trainer, total_images=images, num_validations=1)
            data = ImageDataModule(folder, batch_size=trainer.batch_size, seed=0)
            start = time.process_time()
            fit(replace(experiment, trainer=trainer), data, work=work)
            seconds, images = time.process_time() - start, 2 * images
            remove_work_folder(work)
    return images / 2 / seconds


def print_tables(work: Path, seeds: list[int], models: list[str]) -> None:
    """Markdown: mean ± standard deviation, median seconds; then each model's own terms."""
    results = [work / f"seed-{seed}" / "results" for seed in seeds]
    print(f"| model | {' | '.join(COLUMNS)} |")
    print(f"|---|{'---:|' * len(COLUMNS)}")
    for name in models:
        rows = [load(folder / name) for folder in results]
        print(f"| `{name}` | {' | '.join(cells(rows))} |")
    reference = json.loads((results[0] / "reference" / "metrics.json").read_text())
    for label, key in (
        ("real images (real vs. real)", "real"),
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
            if key.startswith(("test_", "principal_angle")) or key == "evaluate_seconds"
        )
        print(f"\n{name}: " + ", ".join(f"{key} {spread(rows, key, 3)}" for key in own))


def write_rows(work: Path, seeds: list[int], models: list[str], minutes: float | None) -> None:
    """Put the rows into the table of docs/results.md that has this budget and number of seeds."""
    table = f"mnist, {minutes:g} CPU minutes" if minutes else f"mnist, {len(seeds)} seeds"
    results = [work / f"seed-{seed}" / "results" for seed in seeds]
    rows = {
        f"`{name}`": dict(zip(COLUMNS, cells([load(f / name) for f in results]), strict=True))
        for name in models
    }
    update_table(ROOT / "docs" / "results.md", table, rows)


def load(folder: Path) -> dict[str, Any]:
    """Return the metrics of one model in one flat dict."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for group in ("test", "pca"):
        for key, value in metrics.pop(group, {}).items():
            metrics[f"{group}_{key}"] = value
    metrics["images_seen"] = json.loads((folder / "card.json").read_text())["total_images"]
    cpu = folder.parents[1] / f"{folder.name}.cpu.json"
    metrics |= json.loads(cpu.read_text()) if cpu.exists() else {}
    return metrics | json.loads((folder / "cost.json").read_text())


def cells(rows: list[dict[str, Any]]) -> list[str]:
    return [
        spread(rows, key, digits, factor) if key in rows[0] else "–"
        for key, digits, factor in COLUMNS.values()
    ]


def spread(rows: list[dict[str, Any]], key: str, digits: int, factor: float = 1) -> str:
    values = [row[key] * factor for row in rows]
    if key.endswith(("_seconds", "_seen")):
        return f"{statistics.median(values):.{digits}f}"  # a busy machine skews means
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
