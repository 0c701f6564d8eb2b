"""Train on a streamed data set larger than memory: resident memory, images/s, waiting time.

    python bench/streaming.py --images 1000000 --size 64 --steps 1000

Makes a prepared folder of random colour images (12.3 GB with these arguments) in .bench, which is
removed at the end, and trains the linear autoencoder through `fit` with loader=stream: one epoch,
so every image is read once. The page cache of these images is emptied before. The same training
follows with a subset in memory. Memory is that of the process as the kernel reports it 20 times a
second, code and libraries included; the page cache is no part of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentlab.config import build
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.loaders import Batch, MemoryLoader, StreamLoader
from latentlab.data.prepared import read_meta
from latentlab.training import fit
from latentlab.training.resume import remove_work_folder
from latentlab.utils.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
IN_MEMORY = 2**30  # bytes of the subset
FIELDS = {"VmRSS": "all", "RssAnon": "anonymous", "RssFile": "file-backed"}


def make_prepared(folder: Path, images: int, size: int, *, sparse: bool = False) -> None:
    """A prepared folder without labels: `images` to train on, random bytes (`sparse`: zeros)."""
    folder.mkdir(parents=True)
    counts = {"train": images, "val": 1000, "test": 1}
    block = 4096
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        shape = (count, 3, size, size)
        with (folder / f"{split}_images.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            if sparse:
                file.truncate(file.tell() + math.prod(shape))
                continue
            for start in range(0, count, block):
                file.write(rng.bytes(min(block, count - start) * math.prod(shape[1:])))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # empty the page cache
    meta = {"name": "bench", "image_shape": shape[1:], "classes": None, "counts": counts}
    meta |= {"unreadable": [], "seed": 0, "sha256": ""}
    (folder / "meta.json").write_text(json.dumps(meta))


def memory() -> dict[str, float]:
    """Resident memory of this process in MiB, by type."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(told[field].split()[0]) / 1024 for field, name in FIELDS.items()}


@contextmanager
def sampled() -> Iterator[dict[str, float]]:
    """The largest value of each type while the block runs, updated during the block."""
    peaks = memory()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peaks.update({kind: max(peaks[kind], now) for kind, now in memory().items()})

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


class Clocked:
    """A loader that adds up the seconds in which the training waits for it."""

    def __init__(self, loader: MemoryLoader | StreamLoader) -> None:
        self.loader, self.waited = loader, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch


class ClockedData(ImageDataModule):
    def train_dataloader(self) -> Any:
        self.clocked = Clocked(super().train_dataloader())
        return self.clocked


def train(root: Path, prepared: Path, batch_size: int, **options: Any) -> dict[str, float]:
    """One epoch through fit; images/s, the fraction of time waiting, peak memory in MiB."""
    meta = read_meta(prepared)
    images = meta.counts["train"]
    trainer = {"batch_size": batch_size, "total_images": images, "num_validations": 1}
    model = {"class_path": "latentlab.models.linear_ae.LinearAE", "init_args": {"latent_dim": 32}}
    resolved = {"seed": 0, "model": model, "trainer": trainer, "hardware": {"accelerator": "cpu"}}
    experiment = build("linear_ae", resolved, meta.data_spec, root=root, files="bench")
    data = ClockedData(prepared, batch_size=batch_size, seed=0, **options)
    with sampled() as peaks:
        fitted = fit(experiment, data, work=root / ".checkpoints")
    remove_work_folder(root / ".checkpoints")
    waiting = data.clocked.waited / fitted.cost["train_seconds"]
    return {"images/s": fitted.cost["images_per_second"], "waiting": waiting, **peaks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--steps", type=int, default=1000, help="of one epoch")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="threads reading ahead")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="where there is room")
    args = parser.parse_args()
    if not 1 <= args.steps <= args.images:
        parser.error("--steps must lie between 1 and --images")
    row = 3 * args.size**2
    subset = min(args.images, max(args.images // args.steps, IN_MEMORY // row))
    args.folder.mkdir(parents=True, exist_ok=True)
    needed, free = (args.images + subset + 2000) * row, shutil.disk_usage(args.folder).free
    if needed > 0.95 * free:
        parser.error(
            f"{args.folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: "
            "name another --folder, or fewer --images"
        )
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        run(Path(name), args, subset)


def run(root: Path, args: argparse.Namespace, subset: int) -> None:
    size = args.images * 3 * args.size**2
    batch_size = args.images // args.steps
    print(
        f"{args.images} images of 3 × {args.size} × {args.size} ({size / 1e9:.1f} GB), "
        f"{args.steps} steps of {batch_size}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    runs: dict[str, dict[str, float]] = {}
    for workers in args.workers:
        prepared = root / f"prepared{workers}"
        make_prepared(prepared, args.images, args.size)
        runs[f"stream, {workers} workers"] = train(
            root, prepared, batch_size, loader="stream", num_workers=workers
        )
        shutil.rmtree(prepared)
    make_prepared(root / "subset", subset, args.size)
    runs[f"memory, {subset} images"] = train(root, root / "subset", batch_size, loader="memory")
    print(f"{'':26} {'images/s':>9} {'waiting':>8}   peak MiB: all, anonymous, file-backed")
    for name, told in runs.items():
        peaks = " ".join(f"{told[kind]:9.0f}" for kind in FIELDS.values())
        print(f"{name:26} {told['images/s']:9.0f} {told['waiting']:8.1%}   {peaks}")


if __name__ == "__main__":
    main()
