"""Speed of the bare loop while another program uses one of the cores, for two spin counts.

    python bench/busy.py

OpenMP's threads spin a while before they sleep. This trains bench/bare.py's VAE on random images
for some seconds, alone and beside a process that does the same on one thread, with several spin
counts. latentlab leaves GNU's count on idle cores, and takes the shortest one if the cores are busy
when a process starts (utils/imports.py). Prints images/s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

BATCH, STEPS = 128, 5
GNU = "300000"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (20)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(images_per_second(args.seconds))
        return
    from latentlab.utils.imports import SHORT_SPIN

    print(f"{'spins':>9} {'alone':>9} {'beside another':>15}  images/s")
    for spins in (GNU, "100000", "10000", SHORT_SPIN):
        alone = measure(spins, args.seconds)
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(  # in a session of its own, as programs of other windows are
            worker(1e6), env=env, stdout=subprocess.DEVNULL, start_new_session=True
        ) as other:
            beside = measure(spins, args.seconds)
            other.kill()
        print(f"{spins:>9} {alone:9.0f} {beside:15.0f}", flush=True)


def measure(spins: str, seconds: float) -> float:
    """Images/s of a new process."""
    env = os.environ | {"GOMP_SPINCOUNT": spins}
    done = subprocess.run(worker(seconds), env=env, check=True, stdout=subprocess.PIPE)
    return float(done.stdout)


def worker(seconds: float) -> list[str]:
    return [sys.executable, __file__, "--worker", "--seconds", str(seconds)]


def images_per_second(seconds: float) -> float:
    import torch
    from bare import loop

    torch.manual_seed(0)
    images, train, seen = torch.rand(5120, 1, 28, 28), loop("vae"), 0
    train(images, BATCH, STEPS)  # warms up
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        train(images, BATCH, STEPS)
        seen += STEPS * BATCH
    return seen / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
