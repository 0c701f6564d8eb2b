"""Seconds of whole processes on MNIST, wall clock, on an otherwise idle machine.

    python bench/process.py --rounds 3

- train: three epochs of the VAE by `python -m latentlab.stages train vae`, tracking, weights and
  curves stored, against bench/bare.py as a script of its own, in turns;
- first step: from the start of that process until its progress bar appears, just before step 1;
- evaluate: every metric and figure of that VAE on the 10,000 test images;
- help: `latentlab --help`;
- no-op: `dvc repro` where 40 models have nothing to do (a stand-in replaces their stages).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGE = [sys.executable, "-m", "latentlab.stages"]
STAND_IN = """#!{python}
import pathlib, sys, yaml
stage, *name = sys.argv[3:]
stage = yaml.safe_load(open("dvc.yaml"))["stages"][stage]
stage = stage.get("do", stage)
for out in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
    path = next(iter(out)) if isinstance(out, dict) else out
    path = pathlib.Path(path.replace("${{key}}", "".join(name)))
    path = path if path.suffix else path / "content"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
"""


def timed(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True)
    return time.perf_counter() - start


def first_step(root: Path) -> float:
    """Seconds until the progress bar; the training goes on to its end, unmeasured."""
    start = time.perf_counter()
    train = [*STAGE, "train", "vae"]
    with subprocess.Popen(train, cwd=root, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None
        process.stderr.read(1)
        seconds = time.perf_counter() - start
        process.stderr.read()
    return seconds


def make_project(root: Path) -> None:
    """Prepare MNIST and train a classifier for one epoch; the VAE trains for three epochs."""
    shutil.copytree(ROOT / "configs", root / "configs")
    shutil.copy(ROOT / "params.yaml", root)
    edit(root / "params.yaml", lambda params: params["data"].update(name="mnist"))
    edit(root / "params.yaml", lambda params: params["trainer"].update(num_validations=3))
    edit(root / "configs/vae.yaml", lambda vae: vae["trainer"].update(total_images=3 * 421 * 128))
    edit(
        root / "configs/classifier.yaml",
        lambda classifier: classifier["trainer"].update(total_images=54_000),
    )
    subprocess.run([*STAGE, "prepare"], cwd=root, check=True, capture_output=True)
    subprocess.run([*STAGE, "classifier"], cwd=root, check=True, capture_output=True)


def edit(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def noop(root: Path, models: int = 40) -> float:
    """Seconds of a `dvc repro` that finds nothing to do."""
    for name in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    (root / "data" / "images").mkdir(parents=True)
    (root / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "classifier.yaml", root / "configs")
    names = [f"vae{number}" for number in range(models)]
    for name in names:
        shutil.copy(ROOT / "configs" / "vae.yaml", root / "configs" / f"{name}.yaml")
    code = "src/latentlab/models/vae.py"
    edit(root / "params.yaml", lambda params: params.update(models=dict.fromkeys(names, code)))
    edit(root / "params.yaml", lambda params: params.update(tasks={}))
    (root / "bin").mkdir()
    (root / "bin" / "python").write_text(STAND_IN.format(python=sys.executable))
    (root / "bin" / "python").chmod(0o755)
    env = os.environ | {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    timed("dvc", "repro", cwd=root, env=env)
    return statistics.median(timed("dvc", "repro", cwd=root, env=env) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mnist"
        root.mkdir()
        make_project(root)
        images = root / "images.npy"
        from latentlab.data.prepared import read_split

        np.save(images, read_split(root / "data" / "prepared", "train").images.numpy())
        bare = [sys.executable, ROOT / "bench" / "bare.py", images, "3"]
        pairs = [
            (timed(*bare, cwd=root), timed(*STAGE, "train", "vae", cwd=root))
            for _ in range(rounds + 1)
        ][1:]
        ratios = [ours / script for script, ours in pairs]
        script, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"train: bare script {script:.1f} s, latentlab {ours:.1f} s,"
            f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"
        )
        print(f"first step: {statistics.median(first_step(root) for _ in range(rounds)):.1f} s")
        seconds = [timed(*STAGE, "evaluate", "vae", cwd=root) for _ in range(rounds)]
        print(f"evaluate: {statistics.median(seconds):.1f} s")
        command = Path(sys.executable).parent / "latentlab"
        seconds = [timed(command, "--help", cwd=root) for _ in range(2 * rounds)]
        print(f"latentlab --help: {statistics.median(seconds):.2f} s")
        (Path(folder) / "noop").mkdir()
        print(f"no-op dvc repro, 40 models: {noop(Path(folder) / 'noop'):.1f} s")


if __name__ == "__main__":
    main()
