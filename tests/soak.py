"""Kill trainings at random moments until they can no longer hide a lost or changed result.

    make soak                                  # or: python tests/soak.py --kills 100 --seed 0

Each case is trained once without interruption; then again and again, while SIGKILL, SIGTERM or
Ctrl-C end the process at random times, from the imports' end to the last write, and now and then
the newest checkpoint is cut as by a loss of power. The same command continues each time. A training
that gets through must leave bit by bit what the uninterrupted one left: weights, sampler, curves,
and each point exactly once in the MLflow run. Prints the count; the exit code is 1 if any differed.
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
        "configs/dcgan.yaml": {"model__init_args__lr_decay": True},
    },
}
FILES = ("weights.pt", "sampler.pt", "history.csv", "experiment.json")
EXIT = {  # SIGTERM outside of the fit ends a process as it ends any, which a shell calls 143 too
    signal.SIGTERM: (143, -signal.SIGTERM),
    signal.SIGINT: (130,),
    signal.SIGKILL: (-signal.SIGKILL,),
}


def open_case(folder: Path, name: str) -> ProjectFolder:
    """A project that trains `name` on the digits for seconds, with a checkpoint every 5 steps."""
    folder.mkdir()
    project = ProjectFolder(folder)
    project.shrink()
    project.edit("params.yaml", hardware__checkpoint_seconds=0, models__stacked_ae="stacked_ae")
    project.edit(f"configs/{name}.yaml", trainer__images=20 * 1258)
    for file, values in CASES[name].items():
        project.edit(file, **values)
    project.stage("prepare")
    if name == "dcgan":  # which keeps its best weights by the judge's features
        project.stage("judge")
    return project


def train(
    project: ProjectFolder, name: str, after: Callable[[int], None] = lambda pid: None
) -> int:
    """The exit code (negative: the signal) of stage train in a process of its own.

    Forked, so that the imports are paid once; `after` is called with the process id.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        from latentlab.stages.__main__ import run as entry

        signal.signal(signal.SIGINT, signal.default_int_handler)
        quiet = os.open(project.root / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 0
        try:
            entry(lambda: project.stage("train", name))
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 70
        sys.stderr.flush()
        os._exit(code)
    if after is not None:
        after(child)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(project: ProjectFolder, name: str) -> dict[str, object]:
    """Digests of what a finished training left, and every point of its MLflow run."""
    run = project.root / "runs" / name
    with closing(sqlite3.connect(project.root / "mlruns" / "mlflow.db")) as store:
        points = store.execute(
            "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND key LIKE '%/%'",
            ((run / "mlflow_run_id").read_text().strip(),),
        ).fetchall()
    return {**files(project, name), "points": sorted(points)}


def files(project: ProjectFolder, name: str) -> dict[str, str]:
    run = project.root / "runs" / name
    return {file: hashlib.sha256((run / file).read_bytes()).hexdigest() for file in FILES}


def forget(project: ProjectFolder) -> None:
    """Let the next training of this project start anew."""
    for run in project.root.glob("runs/*"):
        if run.name != "judge":
            shutil.rmtree(run)
    assert not list(project.root.glob(".checkpoints/*/*/*")), "a finished training left checkpoints"


def cut_power(project: ProjectFolder, draw: random.Random) -> bool:
    """Cut the newest checkpoint short, if there is one before it."""
    found = sorted(project.root.glob(".checkpoints/*/*/*.ckpt"))
    if len(found) < 2:
        return False
    os.truncate(found[-1], draw.randrange(found[-1].stat().st_size))
    return True


def uninterrupted(project: ProjectFolder, name: str) -> tuple[dict[str, object], float]:
    """What a training leaves that nobody disturbs, and its seconds."""
    start = time.monotonic()
    code = train(project, name)
    assert code == 0, (project.root / "said.txt").read_text()
    seconds = time.monotonic() - start
    left = result(project, name)
    forget(project)
    return left, seconds


def torment(project: ProjectFolder, name: str, kills: int, draw: random.Random) -> Counter[str]:
    """Kill trainings of one case `kills` times; count kills, finished, changed, …"""
    expected, seconds = uninterrupted(project, name)
    again, seconds = uninterrupted(project, name)  # the first one has also made the MLflow store
    assert again == expected
    count = Counter[str]()

    while count["kills"] < kills or count["running"]:
        stop = draw.choice(list(EXIT)) if count["kills"] < kills else None

        def kill(pid: int, stop: signal.Signals | None = stop) -> None:
            if stop is not None:
                time.sleep(draw.uniform(0, seconds))
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)

        code = train(project, name, kill)
        if code == 0:
            count["finished"] += 1
            count["changed"] += result(project, name) != expected
            count["running"] = 0
            forget(project)
            continue
        count["kills"] += 1
        count["running"] = 1
        if stop is not None and code not in EXIT[stop]:
            count[f"{stop.name} ended with {code}"] += 1
        count[stop.name if stop else "failed"] += 1
        if stop is None:
            raise SystemExit((project.root / "said.txt").read_text())
        if (project.root / "runs" / name).exists():  # killed while MLflow was told of it
            count["changed"] += files(project, name) != {k: expected[k] for k in FILES}
        if stop is signal.SIGKILL and draw.random() < 0.3:
            count["power cuts"] += cut_power(project, draw)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="in all (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    # what every child would import for itself
    import mlflow  # noqa: F401

    import latentlab.stages.train  # noqa: F401

    total, draw = Counter[str](), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        for index, name in enumerate(args.cases):
            project = open_case(Path(folder) / name, name)
            share = (index + 1) * args.kills // len(args.cases) - total["kills"]
            count = torment(project, name, share, draw)
            print(f"{name}: {dict(count)}", flush=True)
            total += count
            total["running"] = 0
    print(
        f"{total['kills']} kills, {total['power cuts']} power cuts, {total['finished']} trainings"
        f" finished, {total['changed']} with a lost or changed result"
    )
    wrong = any("ended with" in what for what in total)
    raise SystemExit(total["changed"] > 0 or wrong)


if __name__ == "__main__":
    main()
