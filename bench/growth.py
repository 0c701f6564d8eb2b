"""How the cost of the pipeline grows: with models, with jobs, with images.

    python bench/growth.py --write    # the tables of docs/speed.md, and docs/growth.png

Works in temporary projects with one classifier and mnist_5k; a model is `linear_ae` with a seed of
its own. Each row is `latentlab repro` on targets that have never run, two jobs unless the row says
another number, and `dvc repro` on the same targets with one thread. Both must end with equal
weights and metrics. CPU seconds are those of all processes. Memory is the largest sum of the
proportional set sizes (PSS) of all processes of the command, read five times a second.

- models: 1 … 16 trainings and their evaluations, with a tenth of the usual budget;
- jobs: 8 of them with 1, 2 and 4 jobs;
- memory: 4 trainings of `vae` with 1 and 4 jobs;
- images: one training of `vae` on 1,000 … 100,000 images, counted once an epoch;
- stage: 8 trainings of one batch, the seconds of each.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from project import ROOT, copy_project
from tables import table_lines, update_table

DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
MODEL_COUNTS, JOBS, IMAGE_COUNTS = (1, 2, 4, 8, 16), (1, 2, 4), (1_000, 10_000, 30_000, 100_000)
DVC_COUNTS = (1, 2, 4)  # it is the slowest
LINEAR_IMAGES = 20_736  # a tenth of what `linear_ae` sees on mnist_5k
ONE_BATCH = 128
MEMORY_IMAGES = 20_000


@dataclass(frozen=True)
class Cost:
    """What one command took. `pss`: MiB; 0 if not measured."""

    wall: float
    cpu: float
    pss: float = 0.0


def make_base(root: Path, data: str | None = None) -> None:
    """Write a project with images, classifier and reference. `data`: other than the default's."""
    copy_project(root)
    if data is not None:
        edit(root / "params.yaml", "data", name=data)
    run([BIN / "latentlab", "repro", "reference"], root)


def edit(path: Path, section: str, **values: object) -> None:
    """Change keys of one section of a YAML file."""
    content = yaml.safe_load(path.read_text())
    content[section] |= values
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@contextlib.contextmanager
def project(base: Path, model: str, count: int, images: int) -> Iterator[Path]:
    """Yield a copy of `base` with `count` trainings of a model on so many images."""
    with tempfile.TemporaryDirectory(dir=base.parent) as name:
        root = Path(name) / "project"
        shutil.copytree(base, root, symlinks=True)
        params = yaml.safe_load((root / "params.yaml").read_text())
        source = params["models"][model]
        params |= {"models": {model: source}, "tasks": {}, "more_seeds": list(range(1, count))}
        (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        config = root / "configs" / f"{model}.yaml"
        content = yaml.safe_load(config.read_text())
        content["trainer"]["total_images"] = images
        content["trainer"].pop("max_epochs", None)
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        yield root


def run(command: Sequence[str | Path], root: Path, *, memory: bool = False) -> Cost:
    """Run a command to its end. Raises SystemExit if it fails."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env |= {"DVC_NO_ANALYTICS": "true", "PYTHONPATH": str(root / "src")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process compiles all modules again
    with (root.parent / "log").open("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log)
        peak, done = [0.0], threading.Event()
        reader = threading.Thread(target=watch, args=(process.pid, peak, done))
        if memory:
            reader.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        done.set()
        if memory:
            reader.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{command}: exit code {process.returncode}\n{log.read()[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak[0])


def watch(pid: int, peak: list[float], done: threading.Event) -> None:
    """Keep the largest sum of PSS of a process and its descendants in `peak`, MiB."""
    while not done.wait(0.2):
        total = 0.0
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(pid)
            for each in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += each.memory_full_info().pss / 2**20
        peak[0] = max(peak[0], total)


def digest(root: Path) -> str:
    """SHA-256 of the weights and metrics of all models of a project."""
    sums = hashlib.sha256()
    names = ("runs/*/weights.pt", "results/*/metrics.json")
    for path in sorted(path for name in names for path in root.glob(name)):
        sums.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return sums.hexdigest()


def targets(model: str, count: int, stages: Sequence[str]) -> list[str]:
    return [f"{stage}@{model}" for stage in stages] + [
        f"{stage}_seed@{model}-{seed}" for stage in stages for seed in range(1, count)
    ]


def repro(
    base: Path,
    count: int,
    *,
    jobs: int | None,
    model: str = "linear_ae",
    images: int = LINEAR_IMAGES,
    stages: Sequence[str] = ("train", "evaluate"),
    memory: bool = False,
) -> tuple[Cost, str]:
    """Cost and digest of one call. `jobs` None: `dvc repro`."""
    with project(base, model, count, images) as root:
        wanted = targets(model, count, stages)
        command: list[str | Path] = [BIN / "dvc", "repro", *wanted]
        if jobs is not None:
            command = [BIN / "latentlab", "repro", "-j", str(jobs), *wanted]
        cost = run(command, root, memory=memory)
        print(f"{model} × {count}, jobs {jobs}, {images} images: {cost}", flush=True)
        return cost, digest(root)


def by_models(base: Path) -> dict[str, dict[str, str]]:
    ours, rows = {}, {}
    for count in MODEL_COUNTS:
        ours[count], digest_ours = repro(base, count, jobs=2)
        rows[str(count)] = {"wall s": f"{ours[count].wall:.0f}", "CPU s": f"{ours[count].cpu:.0f}"}
        if count in DVC_COUNTS:
            dvc, digest_dvc = repro(base, count, jobs=None)
            if digest_ours != digest_dvc:
                raise SystemExit(f"{count} models: weights or metrics of the two commands differ")
            rows[str(count)] |= {
                "`dvc repro`, wall s": f"{dvc.wall:.0f}",
                "`dvc repro`, CPU s": f"{dvc.cpu:.0f}",
                "wall ratio": f"{ours[count].wall / dvc.wall:.2f}",
                "CPU ratio": f"{ours[count].cpu / dvc.cpu:.2f}",
            }
    for count in MODEL_COUNTS:
        rows[str(count)]["straight line, CPU s"] = f"{on_line(ours, count):.0f}"
    return rows


def by_jobs(base: Path) -> dict[str, dict[str, str]]:
    costs = {jobs: repro(base, 8, jobs=jobs) for jobs in JOBS}
    if len({digest for _, digest in costs.values()}) != 1:
        raise SystemExit("weights or metrics differ between numbers of jobs")
    memory = {
        jobs: repro(
            base, 4, jobs=jobs, model="vae", images=MEMORY_IMAGES, stages=["train"], memory=True
        )[0].pss
        for jobs in (1, 4)
    }
    return {
        str(jobs): {
            "wall s": f"{cost.wall:.0f}",
            "CPU s": f"{cost.cpu:.0f}",
            "memory of `vae`, MiB": f"{memory[jobs]:,.0f}" if jobs in memory else "–",
            "memory ratio": f"{memory[jobs] / memory[1]:.2f}" if jobs in memory else "–",
        }
        for jobs, (cost, _) in costs.items()
    }


def by_images(base: Path) -> dict[str, dict[str, str]]:
    costs = {
        count: repro(base, 1, jobs=1, model="vae", images=count, stages=["train"])[0]
        for count in IMAGE_COUNTS
    }
    return {
        f"{count:,}": {
            "wall s": f"{cost.wall:.1f}",
            "CPU s": f"{cost.cpu:.1f}",
            "straight line, CPU s": f"{on_line(costs, count):.1f}",
        }
        for count, cost in costs.items()
    }


def on_line(costs: Mapping[int, Cost], at: int) -> float:
    """CPU seconds at `at` on the straight line through the first and the last cost."""
    low, high = min(costs), max(costs)
    return costs[low].cpu + (costs[high].cpu - costs[low].cpu) * (at - low) / (high - low)


def stage_seconds(base: Path) -> str:
    """CPU seconds of a train stage of one batch: the slope between 1 and 9 of them."""
    one, nine = (
        repro(base, count, jobs=1, images=ONE_BATCH, stages=["train"])[0] for count in (1, 9)
    )
    return f"a train stage of one batch: {(nine.cpu - one.cpu) / 8:.2f} CPU s"


def draw(tables: dict[str, dict[str, dict[str, str]]], path: Path) -> None:
    """Draw the seconds of each table over its first column."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for ax, (name, rows) in zip(axes, tables.items(), strict=True):
        at = [int(first.replace(",", "")) for first in rows]
        for column in (c for c in next(iter(rows.values())) if c.endswith(" s")):
            style = "--" if "straight" in column else "o-"
            values = [float(row.get(column, "nan")) for row in rows.values()]
            ax.plot(at, values, style, ms=3, label=column.replace("`", ""))
        ax.set(xlabel=name, ylabel="seconds", ylim=(0, None))
        ax.set_xticks(at, list(rows), fontsize=8)
        ax.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="tables and figure of docs/speed.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        make_base(base)
        print(stage_seconds(base))
        tables = {"models": by_models(base), "jobs": by_jobs(base), "images": by_images(base)}
    for name, rows in tables.items():
        print("\n".join(table_lines(list(next(iter(rows.values()))), rows, first=name)))
        if args.write:
            update_table(DOCS / "speed.md", f"growth, {name}", rows, keep=False)
    if args.write:
        draw(tables, DOCS / "growth.png")


if __name__ == "__main__":
    main()
