"""Kill trainings at random times, and check that no result is lost or changed.

    make soak                                  # or: python tests/soak.py --kills 100 --seed 0

Each case is trained once without interruption. Then it is trained many times, and SIGKILL, SIGTERM
or SIGINT stop the process at random times, between its imports and its last write. Sometimes the
newest checkpoint is truncated, as by a power cut. The same command continues the training.
A finished training must have the same weights, sampler and curves, bit for bit, as the
uninterrupted one, and each point exactly once in its MLflow run. Prints the counts. Exits with
1 if a result differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from conftest import ProjectFolder

CASES: dict[str, dict[str, dict[str, object]]] = {
    "stacked_ae": {"params.yaml": {}},
    "vae": {"params.yaml": {"hardware__loader": "stream", "hardware__num_workers": 2}},
    "dcgan": {
        "params.yaml": {"trainer__ema_decay": 0.9},
        "configs/dcgan.yaml": {"model__init_args__optim__linear_decay": True},
    },
}
FILES = ("weights.pt", "sampler.pt", "history.csv", "experiment.json")
# outside of fit(), SIGTERM ends the process by the signal, which a shell also reports as 143
EXIT = {
    signal.SIGTERM: (143, -signal.SIGTERM),
    signal.SIGINT: (130,),
    signal.SIGKILL: (-signal.SIGKILL,),
}


def open_case(folder: Path, name: str) -> ProjectFolder:
    """A project that trains `name` on digits for seconds, with a checkpoint every 5 steps."""
    folder.mkdir()
    project = ProjectFolder(folder)
    project.shrink()
    project.edit("params.yaml", hardware__checkpoint_interval_seconds=0)
    project.edit("params.yaml", models__stacked_ae="configs/stacked_ae.yaml")
    project.edit(f"configs/{name}.yaml", trainer__total_images=20 * 1258)
    for file, values in CASES[name].items():
        project.edit(file, **values)
    project.stage("prepare")
    if name == "dcgan":  # its best checkpoint needs the features of the classifier
        project.stage("classifier")
    return project


def train(
    project: ProjectFolder, name: str, after: Callable[[int], None] = lambda pid: None
) -> int:
    """Run stage train in a child process. Return its exit code; negative: the signal.

    The child is forked, so the imports are done once. `after` is called with the process id.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        from latentlab.stages.__main__ import run as run_stage

        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(project.root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 0
        try:
            run_stage(lambda: project.stage("train", name))
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 70
        sys.stderr.flush()
        os._exit(code)
    after(child)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(project: ProjectFolder, name: str) -> dict[str, object]:
    """Digests of the files of a finished training, and every point of its MLflow run."""
    run = project.root / "runs" / name
    with closing(sqlite3.connect(project.root / "mlruns" / "mlflow.db")) as store:
        points = store.execute(
            "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND key LIKE '%/%'",
            ((run / "mlflow_run_id").read_text().strip(),),
        ).fetchall()
    return {**digests(project, name), "points": sorted(points)}


def digests(project: ProjectFolder, name: str) -> dict[str, str]:
    run = project.root / "runs" / name
    return {file: hashlib.sha256((run / file).read_bytes()).hexdigest() for file in FILES}


def delete_runs(project: ProjectFolder) -> None:
    """Delete the trained models, so that the next training starts from the beginning."""
    for run in project.root.glob("runs/*"):
        if run.name != "classifier":
            shutil.rmtree(run)
    assert not list(project.root.glob(".checkpoints/*/*/*")), "a finished training has checkpoints"


def truncate_checkpoint(project: ProjectFolder, rng: random.Random) -> bool:
    """Truncate the newest checkpoint, if there is an older one."""
    found = sorted(project.root.glob(".checkpoints/*/*/*.ckpt"))
    if len(found) < 2:
        return False
    os.truncate(found[-1], rng.randrange(found[-1].stat().st_size))
    return True


def uninterrupted(project: ProjectFolder, name: str) -> tuple[dict[str, object], float]:
    """Train without interruption. Return the result and the seconds."""
    start = time.monotonic()
    code = train(project, name)
    assert code == 0, (project.root / "output.txt").read_text()
    seconds = time.monotonic() - start
    found = result(project, name)
    delete_runs(project)
    return found, seconds


def train_with_kills(
    project: ProjectFolder, name: str, kills: int, rng: random.Random
) -> Counter[str]:
    """Kill trainings of one case `kills` times. Return counts of kills, finished, changed, …"""
    expected, seconds = uninterrupted(project, name)
    again, seconds = uninterrupted(project, name)  # without the creation of the MLflow store
    assert again == expected
    count = Counter[str]()

    while count["kills"] < kills or count["running"]:
        stop = rng.choice(list(EXIT)) if count["kills"] < kills else None

        def kill(pid: int, stop: signal.Signals | None = stop) -> None:
            if stop is not None:
                time.sleep(rng.uniform(0, seconds))
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)

        code = train(project, name, kill)
        if code == 0:
            count["finished"] += 1
            count["changed"] += result(project, name) != expected
            count["running"] = 0
            delete_runs(project)
            continue
        count["kills"] += 1
        count["running"] = 1
        if stop is not None and code not in EXIT[stop]:
            count[f"{stop.name} ended with {code}"] += 1
        count[stop.name if stop else "failed"] += 1
        if stop is None:
            raise SystemExit((project.root / "output.txt").read_text())
        if (project.root / "runs" / name).exists():  # killed after the run folder was written
            count["changed"] += digests(project, name) != {k: expected[k] for k in FILES}
        if stop is signal.SIGKILL and rng.random() < 0.3:
            count["power cuts"] += truncate_checkpoint(project, rng)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--kills", type=int, default=100, help="number of kills in all (default 100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the times (default 0)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    # imported here once, not in every child
    import mlflow  # noqa: F401

    import latentlab.stages.train  # noqa: F401

    total, rng = Counter[str](), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        for index, name in enumerate(args.cases):
            project = open_case(Path(folder) / name, name)
            kills = (index + 1) * args.kills // len(args.cases) - total["kills"]
            count = train_with_kills(project, name, kills, rng)
            print(f"{name}: {dict(count)}", flush=True)
            total += count
            total["running"] = 0
    print(
        f"{total['kills']} kills, {total['power cuts']} power cuts, {total['finished']} trainings"
        f" finished, {total['changed']} with a lost or changed result"
    )
    wrong = any("ended with" in key for key in total)
    raise SystemExit(total["changed"] > 0 or wrong)


if __name__ == "__main__":
    main()
