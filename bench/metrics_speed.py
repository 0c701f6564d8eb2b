"""CPU seconds and memory of FID, KID, precision, recall, density and coverage, against packages.

    python bench/metrics_speed.py --rounds 3          # prints the table
    python bench/metrics_speed.py --rounds 3 --write  # and writes it into docs/speed.md

Both sides get the same features, on one thread, in turn, each in a new process. torch-fidelity's
KID has one subset with all images, as ours. The packages are installed, pinned, into .bench/peers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tables import table_lines, update_table
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
PAGE, TABLE = ROOT / "docs" / "speed.md", "metrics"
PEERS = ROOT / ".bench" / "peers"
PACKAGES = ("torch-fidelity==0.4.0", "prdc==0.2")
CASES = {  # first cell → (metric, images, features, package)
    "KID, 10,000 × 256": ("kid", 10_000, 256, "torch-fidelity"),
    "KID, 10,000 × 2,048": ("kid", 10_000, 2048, "torch-fidelity"),
    "FID, 10,000 × 256": ("fid", 10_000, 256, "torch-fidelity"),
    "FID, 10,000 × 2,048": ("fid", 10_000, 2048, "torch-fidelity"),
    "precision … coverage, 10,000 × 256": ("prdc", 10_000, 256, "prdc"),
    "precision … coverage, 10,000 × 2,048": ("prdc", 10_000, 2048, "prdc"),
}
COLUMNS = ("package", "seconds there", "seconds", "ratio", "MiB there", "MiB", "difference")
K = 5


def features(count: int, width: int, *, seed: int, shift: float) -> Tensor:
    """Rectified random projections (count, width), correlated, as those of a network."""
    mix = torch.randn(width, width, generator=torch.Generator().manual_seed(9)) / width**0.5
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.relu(noise @ mix + shift)


def ours(metric: str) -> Callable[[Tensor, Tensor], Any]:
    from latentlab.metrics.fid.frechet import fid
    from latentlab.metrics.kid import kernel_distance
    from latentlab.metrics.prdc import prdc

    return {"fid": fid, "kid": kernel_distance, "prdc": prdc}[metric]


def theirs(metric: str) -> Callable[[Tensor, Tensor], Any]:
    sys.path.append(str(PEERS))
    if metric == "prdc":
        from prdc import compute_prdc

        return lambda real, fake: compute_prdc(real.numpy(), fake.numpy(), K)
    if metric == "kid":
        from torch_fidelity.metric_kid import kid_features_to_metric

        return lambda real, fake: kid_features_to_metric(
            fake, real, kid_subsets=1, kid_subset_size=len(real), verbose=False
        )["kernel_inception_distance_mean"]
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    return lambda real, fake: fid_statistics_to_metric(
        fid_features_to_statistics(fake), fid_features_to_statistics(real), False
    )["frechet_inception_distance"]


def measure(case: str, side: str) -> dict[str, Any]:
    """CPU seconds, growth of the largest memory in MiB, and the values of one call."""
    metric, count, width, _ = CASES[case]
    function = ours(metric) if side == "ours" else theirs(metric)
    sets = [features(count, width, seed=seed, shift=0.1 * seed) for seed in (0, 1)]
    function(*(each[:200] for each in sets))  # the first call imports and allocates
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    value = function(*sets)
    seconds = time.process_time() - start
    values = value if isinstance(value, dict) else {metric: value}
    return {
        "seconds": seconds,
        "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "values": {key: float(number) for key, number in values.items()},
    }


def in_a_new_process(case: str, side: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--one", case, side]
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run(
        command, env={**os.environ, **threads}, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def row(case: str, rounds: int) -> dict[str, str]:
    pairs = [[in_a_new_process(case, side) for side in ("theirs", "ours")] for _ in range(rounds)]
    there, here = pairs[0]
    ratios = sorted(a["seconds"] / b["seconds"] for a, b in pairs)
    spread = f" ({ratios[0]:.1f} … {ratios[-1]:.1f})"
    differences = [
        abs(here["values"][key] / value - 1) for key, value in there["values"].items() if value
    ]
    return {
        "package": CASES[case][3],
        "seconds there": f"{statistics.median(a['seconds'] for a, _ in pairs):.2f}",
        "seconds": f"{statistics.median(b['seconds'] for _, b in pairs):.2f}",
        "ratio": f"{statistics.median(ratios):.1f}{spread if rounds > 1 else ''}",
        "MiB there": f"{there['mib']:.0f}",
        "MiB": f"{here['mib']:.0f}",
        "difference": f"{max(differences):.0e}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/speed.md too")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    if not PEERS.is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--target", PEERS, *PACKAGES], check=True)
    rows = {case: row(case, args.rounds) for case in CASES}
    print("\n".join(table_lines(COLUMNS, rows, first="metric, images × features")))
    if args.write:
        update_table(PAGE, TABLE, rows)


if __name__ == "__main__":
    main()
