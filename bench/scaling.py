"""Time and memory of the streamed loader against image size, batch size and number of images.

    python bench/scaling.py            # writes bench/results/scaling.md and scaling.png

Every row is a process of its own, so that its memory is its own. The images are a sparse file, all
zeros: ten million of them take no disk, and what is timed is the software, not the disk. Memory is
the peak of the resident set above what it was before the loader was made (libraries loaded); in it
are the permutation (8 bytes an image) and the batches read ahead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain, repeat
from pathlib import Path

from streaming import make_prepared, memory, sampled

from latentlab.data.batch_sampler import EpochBatchSampler
from latentlab.data.loaders import StreamLoader

RESULTS = Path(__file__).resolve().parent / "results"
SECONDS = 2.0  # of reading, for each row
SWEEPS = {  # what grows → (images, size, batch)
    "image size": [(100_000, size, 64) for size in (8, 16, 32, 64, 128, 256)],
    "batch size": [(100_000, 64, batch) for batch in (16, 64, 256, 1024)],
    "images": [(count, 64, 128) for count in (1000, 10_000, 100_000, 1_000_000, 10_000_000)],
}
COLUMN = {"image size": 1, "batch size": 2, "images": 0}


def measure(images: int, size: int, batch: int) -> dict[str, float]:
    """Images/s after the first batch, seconds until the first, peak memory in MiB above before."""
    with tempfile.TemporaryDirectory() as name:
        make_prepared(Path(name) / "prepared", images, size, sparse=True)
        before = memory()["all"]
        with sampled() as peaks:
            start = time.perf_counter()
            order = EpochBatchSampler(images, batch)
            loader = StreamLoader(Path(name) / "prepared", "train", order, num_workers=1)
            batches = chain.from_iterable(repeat(loader))  # epoch after epoch
            next(batches)
            begun = time.perf_counter()
            count = 0
            for x, _ in batches:
                count += len(x)
                if time.perf_counter() - begun > SECONDS:
                    break
            rate = count / (time.perf_counter() - begun)
        return {"rate": rate, "first": begun - start, "memory": peaks["all"] - before}


def child(numbers: tuple[int, int, int]) -> dict[str, float]:
    command = [sys.executable, __file__, "--row", *map(str, numbers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--row", type=int, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(*args.row)))
        return
    told = {name: [child(row) for row in rows] for name, rows in SWEEPS.items()}
    RESULTS.mkdir(exist_ok=True)
    text = table(told)
    print(text)
    (RESULTS / "scaling.md").write_text(text)
    draw(told, RESULTS / "scaling.png")


def table(told: dict[str, list[dict[str, float]]]) -> str:
    lines = [
        "Streamed loader, one thread reading ahead, 3 channels, sparse file; load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores. Command: python bench/scaling.py",
        "",
        "| grows | images | size | batch | images/s | MB/s | first batch s | memory MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rows in SWEEPS.items():
        for (images, size, batch), row in zip(rows, told[name], strict=True):
            speed = row["rate"] * 3 * size**2 / 1e6
            lines.append(
                f"| {name} | {images:,} | {size} | {batch} | {row['rate']:,.0f} | {speed:,.0f} "
                f"| {row['first']:.2f} | {row['memory']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def draw(told: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Plot time for a million images, and memory, against each size, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.5), layout="constrained")
    for column, (name, rows) in enumerate(SWEEPS.items()):
        x = [row[COLUMN[name]] for row in rows]
        upper, lower = axes[:, column]
        upper.loglog(x, [1e6 / row["rate"] for row in told[name]], "o-")
        lower.loglog(x, [max(row["memory"], 0.1) for row in told[name]], "o-", color="C1")
        upper.set_ylim(0.5, 500)
        lower.set_ylim(0.1, 1000)
        lower.set_xlabel(name)
    axes[0, 0].set_ylabel("seconds per million images")
    axes[1, 0].set_ylabel("peak memory, MiB")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
