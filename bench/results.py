"""The table of models on mnist_5k or on full MNIST, over several training seeds.

    make results                                           # mnist_5k, the models of params.yaml
    python bench/results.py --models vae wgan --seeds 0    # some
    python bench/results.py --models all --seeds 0         # every model of configs/
    python bench/results.py --jobs 2                       # two at a time, one thread each
    LATENTLAB_DATA=… python bench/results.py --data mnist  # all of MNIST
    OMP_NUM_THREADS=1 python bench/results.py --cpu-minutes 2    # the same time for each model

Works in the project .bench/DATA; the results of this one stay. The seeds are those of `more_seeds`:
all of them use one split and one classifier, and only the training varies. The stages are started
one by one, and not by DVC, to measure the CPU time of each training.
A second call skips stages whose results exist: remove .bench/DATA to start anew. A model that fails
is named and the others go on; the exit code is then 1. Each stage writes what it prints into
.bench/DATA/logs.

With `--cpu-minutes`, each model trains for as many whole epochs as come nearest to that time of one
core, by a trial of some seconds; the rest of its config stays. It works in a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tables import read_table, table_lines, update_table

from latentlab.config import load_project
from latentlab.config.seeds import Training
from latentlab.config.selection import model_names, select
from latentlab.data.prepared import read_meta
from latentlab.stages import UNTRACKED

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
DATA = ("mnist_5k", "mnist")
COLUMNS = {  # header → (key, digits, factor)
    "FID": ("fid", 1, 1),
    "class FID": ("class_fid", 1, 1),
    "KID": ("kid", 1, 1),
    "precision": ("precision", 2, 1),
    "recall": ("recall", 2, 1),
    "SSE": ("reconstruction_sse", 2, 1),
    "PSNR dB": ("psnr_db", 2, 1),
    "probe %": ("probe_accuracy", 2, 100),
    "classifier %": ("classifier_accuracy", 2, 100),
    "train s": ("train_seconds", 0, 1),
    "evaluate s": ("evaluate_seconds", 0, 1),
    "CPU s": ("cpu_seconds", 0, 1),  # the whole training process, with its start and tracking
    "images": ("images_seen", 0, 1),
}
BASELINES = {  # first cell → key of results/reference/metrics.json
    "real images (real vs. real)": "real",
    "PCA-32, one Gaussian": "pca_gaussian",
    "uniform noise": "noise",
    "raw pixels": "pixels",
}
TRIAL = 5120  # images
TRIAL_SECONDS = 8.0
LOG_LINES = 20  # printed of a stage that failed
FIRST_SEED = 0


class StageFailed(SystemExit):
    """A stage ended with an error. The message has the end of what it printed.

    Nothing works without the stages that all models share: there, it ends the program.
    """


def main() -> None:
    args = parse()
    if args.rate:
        print(images_per_second(*args.rate))
        return
    minutes, models = args.cpu_minutes, args.models
    work = work_folder(args.data, minutes)
    budget = f"{minutes:g} CPU minutes" if minutes else f"{len(args.seeds)} seeds"
    if args.write:
        read_table(PAGE, f"{args.data}, {budget}")  # a missing table is an error before the work
    failed = run_models(work, args.data, args.seeds, models, jobs=args.jobs, minutes=minutes)
    rows = table_rows(work, args.seeds, [name for name in models if name not in failed])
    print("\n".join(table_lines(list(COLUMNS), rows)))
    print_terms(work, args.seeds, [name for name in models if name not in failed])
    if args.write:
        update_table(PAGE, f"{args.data}, {budget}", rows)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(load_project(ROOT).models))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (1)")
    parser.add_argument("--cpu-minutes", type=float, help="of training for each model")
    parser.add_argument("--write", action="store_true", help="the rows into docs/results.md too")
    parser.add_argument("--rate", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; it must be 1 or more")
    if args.models == ["all"]:
        args.models = model_names(ROOT)
    if unknown := sorted(set(args.models) - set(model_names(ROOT))):
        parser.error(f"unknown model {unknown[0]!r}: choose from {', '.join(model_names(ROOT))}")
    return args


def add_data_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=DATA, default=DATA[0], help=f"the data set ({DATA[0]})")


def work_folder(data: str, minutes: float | None = None) -> Path:
    return ROOT / ".bench" / (f"{data}-{minutes:g}min" if minutes else data)


def run_models(
    work: Path,
    data: str,
    seeds: Sequence[int],
    models: Sequence[str],
    *,
    jobs: int = 1,
    minutes: float | None = None,
) -> list[str]:
    """Train and evaluate each model with each seed. Return the names of those that failed.

    `jobs`: trainings that run side by side. With more than one, each has one thread.
    """
    run_shared(work, data)
    project(work, data, seeds)
    failed: list[str] = []

    def train_and_evaluate(model: str, seed: int) -> None:
        name, threads = training(model, seed).name, 1 if jobs > 1 else None
        try:
            run(work, "train", work / "runs" / name, name, threads=threads)
            run(work, "evaluate", work / "results" / name, name, threads=threads)
        except StageFailed as error:
            print(f"# {name} failed: {error}", file=sys.stderr, flush=True)
            failed.append(model)

    for model in models if minutes else ():
        fit_to(work, model, 60 * (minutes or 0))
    with ThreadPoolExecutor(jobs) as pool:
        try:
            pairs = [(model, seed) for model in models for seed in seeds]
            list(pool.map(train_and_evaluate, *zip(*pairs, strict=True)))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [name for name in models if name in failed]


def training(model: str, seed: int) -> Training:
    return Training(model, None if seed == FIRST_SEED else seed)


def run_shared(work: Path, data: str) -> Path:
    """Run the stages that all models need. Return the folder of the project."""
    folder = project(work, data)
    run(folder, "prepare", folder / "data/prepared")
    run(folder, "classifier", folder / "runs/classifier")
    run(folder, "reference", folder / "results/reference")
    return folder


def project(folder: Path, data: str, seeds: Sequence[int] = ()) -> Path:
    """Create a project folder with all models, and with the trainings of these seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["seed"], params["data"]["name"] = FIRST_SEED, data
    params["more_seeds"] = [seed for seed in seeds if seed != FIRST_SEED]
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    select(folder, ["all"])
    return folder


def run(folder: Path, stage: str, out: Path, *names: str, threads: int | None = None) -> None:
    """Run a stage in `folder`, unless its output exists. Raises StageFailed.

    `threads`: as OMP_NUM_THREADS; None keeps that of the environment.
    """
    if stage == "train":
        require_same_config(folder, *names)
    if out.exists():
        return
    command = [sys.executable, "-m", "latentlab.stages", stage, *names]
    print(f"# {folder.name}: {stage} {' '.join(names)}", file=sys.stderr, flush=True)
    log = folder / "logs" / ("-".join([stage, *names]) + ".txt")
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(threads), stdout=file, stderr=subprocess.STDOUT
        )
        # unlike getrusage, wait4 counts this child alone
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, UNTRACKED):
        end = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise StageFailed(f"{stage}, exit code {process.returncode}, {log}:\n{end}")
    if stage == "train":
        (folder / f"{names[0]}.cpu.json").write_text(
            json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime})
        )


def require_same_config(folder: Path, name: str) -> None:
    """Raise StageFailed if the config of `name` has changed since its training in `folder`."""
    model = Training.parse(name).model
    config = yaml.safe_load((folder / "configs" / f"{model}.yaml").read_text())
    note = folder / f"{name}.config.json"
    if not (folder / "runs" / name).exists() or not note.exists():
        note.write_text(json.dumps(config))
    elif json.loads(note.read_text()) != config:
        raise StageFailed(
            f"configs/{model}.yaml has changed since its training. Remove "
            f"{folder / 'runs' / name} and {folder / 'results' / name}."
        )


def environment(threads: int | None = None) -> dict[str, str]:
    data = os.environ.get("LATENTLAB_DATA", "data/raw")
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return {**os.environ, "LATENTLAB_DATA": str((ROOT / data).resolve()), **own}


def fit_to(folder: Path, name: str, seconds: float) -> None:
    """Write into the folder's config of `name` the whole epochs that fill `seconds` of one core."""
    path, note = folder / "configs" / f"{name}.yaml", folder / f"{name}.rate.json"
    prepared = folder / "data/prepared"
    config = yaml.safe_load(path.read_text())
    if not note.exists():
        command = [sys.executable, __file__, "--rate", name, str(prepared)]
        found = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE)
        note.write_text(json.dumps(float(found.stdout)))
    images = seconds * json.loads(note.read_text())
    set_budget(config["trainer"], images, epoch=read_meta(prepared).counts["train"])
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def set_budget(trainer: dict[str, Any], images: float, *, epoch: int) -> None:
    """Set the whole epochs that come nearest to `images`. `epoch`: number of training images."""
    epochs, batch = max(1, round(images / epoch)), trainer["batch_size"]
    trainer["total_images"] = epochs * (epoch // batch) * batch
    trainer.pop("max_epochs", None)


def images_per_second(name: str, prepared: str) -> float:
    """Images per second of one core that `name` trains with, selection left out."""
    from latentlab.config import load_experiment
    from latentlab.data.datamodule import ImageDataModule
    from latentlab.training import fit
    from latentlab.training.resume import remove_work_folder
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    data_spec, images, seconds = read_meta(Path(prepared)).data_spec, TRIAL, 0.0
    with tempfile.TemporaryDirectory() as root:
        folder, work = trial_data(Path(prepared), Path(root) / "prepared"), Path(root) / "work"
        while seconds < TRIAL_SECONDS:
            experiment = load_experiment(name, data_spec, ROOT)
            trainer = replace(
                experiment.trainer, total_images=images, max_epochs=None, num_validations=1
            )
            data = ImageDataModule(folder, batch_size=trainer.batch_size, seed=0)
            start = time.process_time()
            seen = fit(replace(experiment, trainer=trainer), data, work=work).images
            seconds, images = time.process_time() - start, 2 * images
            remove_work_folder(work)
    return seen / seconds


def trial_data(prepared: Path, folder: Path) -> Path:
    """Return a prepared folder with at most about TRIAL training images of `prepared`."""
    from latentlab.data.prepared import read_split, write_prepared
    from latentlab.data.settings import DataSettings
    from latentlab.data.sources import Images, Source

    info, train = read_meta(prepared), read_split(prepared, "train")
    if len(train) <= TRIAL:
        return prepared
    some = train.first(round(TRIAL / 0.8))  # a tenth each becomes val and test
    labels = None if some.labels is None else some.labels.numpy()
    images = Images(some.images.numpy(), labels, range(len(some)))
    settings = DataSettings(name=info.name, val_fraction=0.1, test_fraction=0.1)
    write_prepared(Source(info.name, images, None, info.classes), settings, 0, folder)
    return folder


def table_rows(
    work: Path, seeds: Sequence[int], models: Sequence[str]
) -> dict[str, dict[str, str]]:
    """First cell → {column → cell}: the models, then the baselines."""
    reference = json.loads((work / "results/reference/metrics.json").read_text())
    rows = {f"`{model}`": load_all(work, model, seeds) for model in models}
    rows |= {label: [reference[key]] for label, key in BASELINES.items()}
    return {label: dict(zip(COLUMNS, cells(row), strict=True)) for label, row in rows.items()}


def print_terms(work: Path, seeds: Sequence[int], models: Sequence[str]) -> None:
    """Print each model's own terms, and the seconds of the classifier."""
    for name in models:
        rows = load_all(work, name, seeds)
        own = sorted(key for key in rows[0] if key.startswith(("test_", "principal_angle")))
        if own:
            print(f"\n{name}: " + ", ".join(f"{key} {spread(rows, key, 3)}" for key in own))
    cost = json.loads((work / "runs/classifier/cost.json").read_text())
    print(f"\nclassifier: train s {spread([cost], 'train_seconds', 0)}")


def load_all(work: Path, model: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the metrics of a model, one dict for each seed."""
    return [load(work / "results" / training(model, seed).name) for seed in seeds]


def load(folder: Path) -> dict[str, Any]:
    """Return the metrics of one model in one flat dict."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for group in ("test", "pca"):
        for key, value in metrics.pop(group, {}).items():
            metrics[f"{group}_{key}"] = value
    metrics["images_seen"] = json.loads((folder / "card.json").read_text())["images_seen"]
    cpu = folder.parents[1] / f"{folder.name}.cpu.json"
    metrics |= json.loads(cpu.read_text()) if cpu.exists() else {}
    return metrics | json.loads((folder / "cost.json").read_text())


def cells(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [
        spread(rows, key, digits, factor) if all(key in row for row in rows) else "–"
        for key, digits, factor in COLUMNS.values()
    ]


def spread(rows: Sequence[dict[str, Any]], key: str, digits: int, factor: float = 1) -> str:
    """Mean ± standard deviation; of seconds and numbers of images the median."""
    values = [row[key] * factor for row in rows]
    if key.endswith(("_seconds", "_seen")):
        median = statistics.median(values)  # a busy machine skews means
        return f"{median:,.{1 if key.endswith('_seconds') and median < 10 else digits}f}"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
