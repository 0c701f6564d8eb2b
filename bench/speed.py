"""Speed of the pipeline's training loop against the bare loop, on MNIST, in interleaved pairs.

    make bench                                        # or, some of it:
    python bench/speed.py --cases vae-128 dcgan-28 --rounds 7

`--against pythae` and `--against naive` (vae-128 only) compare with that trainer instead of the
bare loop.
Each pair is two new processes that start one after the other and take turns, so that the place in
memory that one of them got does not decide: one runs the bare loop of bench/bare.py as any script
would, the other trains through latentlab with everything on (data module, uint8 images, seeds per
batch, curves to MLflow every 50 steps, a progress bar, one validation and one checkpoint at the
end, inside its clock).
Each runs once to warm up, once for the number. Ratios are of throughput (images/s), pair by pair:
above 1 where the pipeline is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tables import update_table

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """One comparison. `target`: the ratio to reach."""

    model: str
    batch_size: int
    steps: int
    target: float
    size: int = 28
    bare: str = ""  # the bare loop's name, where it is not the model's
    trainer: dict[str, Any] = field(default_factory=dict)


BF16 = {"precision": "bf16-mixed"}
CASES = {
    "vae-128": Case("vae", 128, 1200, 0.95),
    "vae-512": Case("vae", 512, 400, 0.98),
    "stacked_ae-128": Case("stacked_ae", 128, 1200, 0.95),
    "stacked_ae-512": Case("stacked_ae", 512, 400, 0.98),
    "dcgan-28": Case("dcgan", 128, 120, 1.15),
    "dcgan-32": Case("dcgan", 64, 120, 1.15, size=32),
    # longer, as the start of a training and its last validation would take a tenth of the time
    "vae-128-bf16": Case("vae", 128, 4800, 1.5, trainer=BF16),
    "vae-512-bf16": Case("vae", 512, 1600, 2.2, trainer=BF16),
    "dcgan-28-bf16": Case("dcgan", 128, 360, 2.2, trainer=BF16),
    "dcgan-32-bf16": Case("dcgan", 64, 360, 2.2, size=32, trainer=BF16),
    # against PyTorch's tutorial, which samples one batch of fakes for both players, as here
    "dcgan-28-tutorial": Case("dcgan", 128, 120, 1.0, bare="tutorial"),
    # what each setting of params.yaml is worth
    "vae-128-unfused": Case("vae", 128, 1200, 0.0, trainer={"fused_optimizer": False}),
    "vae-128-compile": Case("vae", 128, 1200, 0.0, trainer={"compile": True}),
    "vae-128-ema": Case("vae", 128, 1200, 0.0, trainer={"ema_decay": 0.999}),
    "dcgan-28-unfused": Case("dcgan", 128, 120, 0.0, trainer={"fused_optimizer": False}),
    "dcgan-28-nchw": Case("dcgan", 128, 120, 0.0, trainer={"channels_last": False}),
    "dcgan-28-compile": Case("dcgan", 128, 120, 0.0, trainer={"compile": True}),
    "dcgan-28-ema": Case("dcgan", 128, 120, 0.0, trainer={"ema_decay": 0.999}),
}


def prepare(root: Path, count: int, size: int = 28) -> Path:
    """The first MNIST images, `count` of them for training (at most all), as a prepared folder."""
    from latentlab.data.prepared import write_prepared
    from latentlab.data.settings import DataSettings
    from latentlab.data.sources import Images, load_source

    count = min(54_000, count)
    folder = root / f"prepared-{size}-{count}"
    if not folder.exists():
        settings = DataSettings(name="mnist", size=size, val_fraction=0.1)
        source = load_source(settings, ROOT)
        some = slice(0, round(count / 0.9) + 1)
        train = Images(source.train.pixels[some], source.train.labels[some], range(60_000)[some])
        write_prepared(replace(source, train=train), settings, 0, folder)
    return folder


def bare(case: Case, folder: Path) -> float:
    """Images/s of the bare loop."""
    import torch
    from bare import loop

    from latentlab.data.prepared import read_split

    images = read_split(folder, "train").images.float() / 255
    torch.manual_seed(0)
    start = time.perf_counter()
    loop(case.bare or case.model)(images, case.batch_size, case.steps)
    return case.steps * case.batch_size / (time.perf_counter() - start)


MLP = "latentlab.networks.mlp.MLP"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("vae.VAE", {"latent_dim": 20}),
    "stacked_ae": (
        "autoencoder.Autoencoder",
        {
            "network": {"class_path": MLP, "init_args": {"hidden": [300], "activation": "selu"}},
            "latent_dim": 150,
        },
    ),
    "dcgan": ("dcgan.DCGAN", {"width": 32}),
}


def pipeline(case: Case, folder: Path) -> float:
    """Images/s through latentlab, tracking and progress bar on."""
    from latentlab import tracking
    from latentlab.config import build
    from latentlab.data.datamodule import ImageDataModule
    from latentlab.data.prepared import read_meta
    from latentlab.training import fit
    from latentlab.training.resume import remove_work_folder

    root, meta = folder.parent, read_meta(folder)
    class_path, arguments = MODELS[case.model]
    resolved = {
        "seed": 0,
        "model": {
            "class_path": f"latentlab.models.{class_path}",
            "init_args": arguments,
        },
        "sampler": {"class_path": "latentlab.samplers.StandardNormal"},
        "trainer": {
            "batch_size": case.batch_size,
            "total_images": case.steps * case.batch_size,
            "num_validations": 1,
            **case.trainer,
        },
    }
    experiment = build(case.model, resolved, meta.data_spec, root=root, files="bench")
    data = ImageDataModule(folder, batch_size=case.batch_size, seed=0)
    run = tracking.open_run(root, experiment="bench", name="vae", params=resolved, tags={})
    fitted = fit(experiment, data, work=root / "work", run=run)
    run.finish("FINISHED")
    remove_work_folder(root / "work")
    return fitted.cost["images_per_second"]


def peer(side: str, case: Case, folder: Path) -> float:
    """Images/s of Pythae's or Lightning's trainer, over the epochs that the case's steps make."""
    import peers

    from latentlab.data.prepared import read_split

    epochs = case.steps * case.batch_size // 54_000 + 1
    if side == "naive":
        return peers.naive(case.batch_size, epochs, folder.parent)
    images = read_split(folder, "train").images.float() / 255
    return peers.pythae(images, case.batch_size, epochs, folder.parent)


def work(side: str, root: Path) -> None:
    """One of the processes: for each case named on stdin, images/s on stdout."""
    if side == "latentlab":
        from latentlab.utils.imports import import_lightning_lean
        from latentlab.utils.memory import keep_freed_memory

        import_lightning_lean()
        keep_freed_memory()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # skip other output, which is not a number
    for line in sys.stdin:
        case = CASES[line.strip()]
        folder = prepare(root, case.steps * case.batch_size, case.size)
        ways = {"latentlab": pipeline, "bare": bare}
        print(json.dumps(ways.get(side, partial(peer, side))(case, folder)), file=out, flush=True)


class Worker:
    """A process that measures one side, and sleeps while the other is measured."""

    def __init__(self, side: str, root: Path) -> None:
        command = [sys.executable, __file__, "--work", side, str(root)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # progress bars
            text=True,
        )

    def measure(self, name: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="pairs of processes (5)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--against", choices=["bare", "pythae", "naive"], default="bare")
    parser.add_argument("--write", action="store_true", help="the rows into docs/speed.md too")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], Path(args.work[1]))
        return
    with tempfile.TemporaryDirectory() as root:
        print(f"{'case':18} {args.against:>9} {'latentlab':>9}  ratio (lowest … highest)  aim")
        for name in args.cases:
            pairs = [pair(name, args.against, Path(root)) for _ in range(args.rounds)]
            report(name, pairs)
            if args.write:
                label = name if args.against == "bare" else f"{name}, against {args.against}"
                update_table(ROOT / "docs" / "speed.md", "speed", {f"`{label}`": cells(pairs)})


def pair(name: str, against: str, root: Path) -> list[float]:
    """Images/s of the other side and of latentlab, in two new processes."""
    sides = []
    for side in (against, "latentlab"):
        sides.append(Worker(side, root))
        sides[-1].measure(name)  # warms up, alone: beside a busy process, OpenMP spins less
    speeds = [side.measure(name) for side in sides]
    for side in sides:
        side.stop()
    return speeds


def cells(pairs: list[list[float]]) -> dict[str, str]:
    """One row of docs/speed.md: medians, and the lowest and highest ratio of the pairs."""
    ratios = [ours / theirs for theirs, ours in pairs]
    theirs, ours = (f"{statistics.median(column):,.0f}" for column in zip(*pairs, strict=True))
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"
    return {"reference": theirs, "latentlab": ours, "ratio": ratio}


def report(name: str, pairs: list[list[float]]) -> None:
    ratios = [ours / theirs for theirs, ours in pairs]
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    spread = f"({min(ratios):.2f} … {max(ratios):.2f})"
    aim = f"{CASES[name].target:.2f}" if CASES[name].target else "–"
    ratio = statistics.median(ratios)
    print(f"{name:18} {theirs:9.0f} {ours:9.0f}  {ratio:.3f} {spread:19}  {aim}", flush=True)


if __name__ == "__main__":
    main()
