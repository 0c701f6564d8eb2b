"""Seconds to predict sparse codes with a feed-forward encoder, and to optimize them with FISTA.

    python bench/inference.py RUN            # a folder of a trained psd, such as runs/psd

1,000 validation images in one batch; FISTA with as many steps as bring it within 1 % of the least
energy. Medians of nine passes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import latentlab
from latentlab.config import load_project
from latentlab.data.prepared import read_split

EXACT, CLOSE = 500, 0.01
STEPS = (5, 10, 20, 30, 40, 50, 70, 100, 150, 200)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run.resolve()
    project = load_project(run.parents[1])
    model = latentlab.load(run, project=project.root).module
    x = next(read_split(project.prepared, "val").batches(1000))
    least = energy(model, x, model.infer(x, steps=EXACT))
    steps = next(n for n in STEPS if energy(model, x, model.infer(x, steps=n)) / least < 1 + CLOSE)
    guess = seconds(model.encode, x)
    found = seconds(lambda part: model.infer(part, steps=steps), x)
    excess = energy(model, x, model.encode(x)) / least - 1
    print(f"encoder: {1e6 * guess / len(x):.1f} µs an image, {excess:.1%} above the least energy")
    print(f"FISTA, {steps} steps: {1e6 * found / len(x):.1f} µs an image, {found / guess:.0f} ×")


def energy(model: torch.nn.Module, x: Tensor, z: Tensor) -> float:
    return float(model.energy(x, z).mean())  # type: ignore[operator]


def seconds(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Median of the seconds of nine calls on x, after one call to warm up."""
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        function(x)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
