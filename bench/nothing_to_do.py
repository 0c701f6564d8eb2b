"""CPU seconds of `latentlab repro` where nothing is to be done, relative to `dvc status`.

    python bench/nothing_to_do.py --rounds 3

Two projects: the models and tasks of params.yaml, and all of configs/ with five seeds. No stage
runs: each output is a file of one byte, and dvc.lock is written as `dvc commit` does, but once for
all stages. `latentlab repro` is called once before: it then notes what DVC has looked at
(`first call`). The ratio is that of `latentlab repro` over all models to `dvc status` over those of
params.yaml.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dump_yaml
from project import copy_project

from latentlab.config.selection import select
from latentlab.pipeline.changes import once
from latentlab.pipeline.unchanged import MARGIN

MORE_SEEDS = [1, 2, 3, 4]
BIN = Path(sys.executable).parent
STATUS, REPRO = [BIN / "dvc", "status"], [BIN / "latentlab", "repro"]


def make_project(root: Path, *, everything: bool) -> int:
    """Write a project whose stages all seem to have run. Return the number of stages."""
    copy_project(root)
    if everything:
        select(root, ["all"])
        params = yaml.safe_load((root / "params.yaml").read_text())
        (root / "params.yaml").write_text(yaml.safe_dump(params | {"more_seeds": MORE_SEEDS}))
    once(Output, "_build", lambda out, odb, path, *rest, **options: (path, options.get("dry_run")))
    with Repo(str(root)) as repo:
        stages = repo.index.stages
        for out in (Path(out.fs_path) for stage in stages for out in stage.outs):
            path = out if out.suffix else out / "code.json"  # stages of other seeds read that file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        for weights in (root / "runs").iterdir():
            (weights / "weights.pt").write_text("x")
        locked, cached = {}, set()
        with repo.lock:
            for stage in stages:
                stage.save(run_cache=False)
                for out in stage.outs:
                    if out.hash_info not in cached:
                        out.commit()
                        cached.add(out.hash_info)
                locked[stage.name] = to_single_stage_lockfile(stage)
    dump_yaml(str(root / "dvc.lock"), {"schema": "2.0", "stages": locked})
    return len(stages)


def cpu_seconds(command: list[str | Path], root: Path, expected: str) -> float:
    """User and system seconds of a process and its children. Its output must have `expected`."""
    before = os.times()
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    after = os.times()
    if expected not in done.stdout:
        raise SystemExit(f"{command[-1]}: {expected!r} is not in its output: {done.stdout}")
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make the projects, and keep them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        roots = {"listed": folder / "listed", "all": folder / "all"}
        for name, root in roots.items():
            if not root.exists():
                print(f"{name}: {make_project(root, everything=name == 'all')} stages")
        cases = {
            "dvc status, listed": (STATUS, roots["listed"], "up to date"),
            "latentlab repro, listed": (REPRO, roots["listed"], "all stages are up to date"),
            "latentlab repro, all": (REPRO, roots["all"], "all stages are up to date"),
        }
        for root in roots.values():
            (root / ".checkpoints").mkdir(exist_ok=True)
        time.sleep(MARGIN)  # newer files could change again within one tick of their clock
        for name, root in roots.items():
            first = cpu_seconds(REPRO, root, "all stages are up to date")
            print(f"first call, {name}: {first:.2f} s")
        seconds = {
            name: [cpu_seconds(*case) for case in [case] * args.rounds]
            for name, case in cases.items()
        }
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in seconds.items():
        print(f"{name:26} {medians[name]:6.2f} s ({min(each):.2f} … {max(each):.2f})")
    ratio = medians["latentlab repro, all"] / medians["dvc status, listed"]
    print(f"latentlab repro over all / dvc status over the listed: {ratio:.2f}")


if __name__ == "__main__":
    main()
