"""The same metrics in other packages: the table of docs/metrics-elsewhere.md.

    make metrics-elsewhere                # prints the table and writes it into the page
    python bench/metrics_elsewhere.py     # prints it

The packages are installed, pinned, into an environment of their own, .bench/elsewhere. They get the
same images, features and scores as latentlab: `inputs`. Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tables import table_lines, update_table

from latentlab.contracts import to_float
from latentlab.data.settings import DataSettings
from latentlab.data.sources import load_source
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.kid import kernel_distance
from latentlab.metrics.prdc import prdc
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.tasks.common.ranking import auroc, average_precision

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "metrics-elsewhere.md"
TABLE = "metrics elsewhere"
FOLDER = ROOT / ".bench" / "elsewhere"
PACKAGES = (
    "torch==2.15.0",
    "torchvision==0.29.2",
    "torchmetrics==1.9.0",
    "torch-fidelity==0.4.0",
    "pytorch-fid==0.3.0",
    "clean-fid==0.1.35",
    "prdc==0.2",
    "piq==0.8.0",
    "scikit-image==0.26.0",
    "scikit-learn==1.9.1",
    "pytorch-msssim==1.0.0",
    "pytorch-ignite==0.5.5",
    "torcheval==0.0.7",
    "kornia==0.9.0",
    "sewar==0.4.10",
    "POT==0.9.7.post1",
)
REPEATED = "precision of repeated rows"
METRICS = ("fid", "kid", "precision", "recall", "density", "coverage", "ssim", "psnr_db", "mse")
METRICS = (*METRICS, "auroc", "average_precision", REPEATED)
COLUMNS = ("ours", "there", "difference", "what it computes")
EQUAL = 2e-5  # a relative difference below it is rounding


def inputs() -> dict[str, np.ndarray]:
    """Images, features and scores, the same on every machine up to rounding.

    - x, y: float32 (500, 1, 28, 28) in [0, 1], digits and the same digits with Gaussian noise of
      deviation 0.1, clipped.
    - real, fake: float32 (1000, 64), rectified random projections of other digits, without and with
      noise of deviation 0.3, each divided by its deviation over the real ones.
    - scores (500,), about −40 … 70, and positive (500,) bool: is it a 1?
    """
    images = load_source(DataSettings(name="mnist_5k"), ROOT).train
    pixels = to_float(torch.from_numpy(np.asarray(images.pixels))).numpy()
    labels = np.asarray(images.labels)
    noise = np.random.default_rng(0)

    def noisy(part: np.ndarray, deviation: float) -> np.ndarray:
        return (part + noise.normal(0, deviation, part.shape)).clip(0, 1).astype(np.float32)

    x = pixels[::10]
    matrix = np.random.default_rng(1).normal(0, 1 / 28, (784, 64))
    real, fake = pixels[1::5].reshape(-1, 784), noisy(pixels[2::5], 0.3).reshape(-1, 784)
    real, fake = ((part @ matrix).clip(0) for part in (real, fake))
    scale = real.std(0)
    scores = np.random.default_rng(2).normal(0, 15, len(x)) + 30 * (labels[::10] == 1)
    return {
        "x": x,
        "y": noisy(x, 0.1),
        "real": (real / scale).astype(np.float32),
        "fake": (fake / scale).astype(np.float32),
        "scores": scores,
        "positive": labels[::10] == 1,
    }


def ours(given: dict[str, np.ndarray]) -> dict[str, float]:
    """Our value of each metric."""
    x, y, real, fake, scores, positive = (
        torch.from_numpy(given[key]) for key in ("x", "y", "real", "fake", "scores", "positive")
    )
    reconstruction = reconstruction_metrics([(x, y)])
    repeated = real[:100].repeat(6, 1)  # two equal sets, in which each row occurs six times
    return {
        "fid": fid(real, fake),
        "kid": kernel_distance(real, fake),
        **prdc(real, fake),
        "ssim": reconstruction["ssim"],
        "psnr_db": reconstruction["psnr_db"],
        "mse": reconstruction["reconstruction_mse"],
        "auroc": auroc(scores, positive),
        "average_precision": average_precision(scores, positive),
        REPEATED: prdc(repeated, repeated)["precision"],
    }


def install() -> Path:
    """Return the interpreter of the environment with PACKAGES, which is made if it is not there."""
    python, done = FOLDER / "bin" / "python", FOLDER / "packages.txt"
    if not done.is_file() or done.read_text().split() != list(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        done.write_text("\n".join(PACKAGES) + "\n")
    return python


def elsewhere(python: Path, given: dict[str, np.ndarray]) -> list[dict[str, str | float]]:
    """The rows of bench/packages_elsewhere.py: metric, package, value, definition."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, **given)
        script = Path(__file__).with_name("packages_elsewhere.py")
        variables = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": ""}
        found = subprocess.run(
            [python, script, path], check=True, stdout=subprocess.PIPE, env=variables
        )
    rows: list[dict[str, str | float]] = json.loads(found.stdout.splitlines()[-1])
    return rows


def table(mine: dict[str, float], rows: list[dict[str, str | float]]) -> dict[str, dict[str, str]]:
    """First cell → {column → cell}, in the order of METRICS."""
    result = {}
    for metric in METRICS:
        for row in (row for row in rows if row["metric"] == metric):
            value, own = float(row["value"]), mine[metric]
            equal = abs(value - own) <= EQUAL * max(abs(own), 1e-9)
            result[f"`{metric}`, {row['package']}"] = {
                "ours": f"{own:.6g}",
                "there": f"{value:.6g}",
                "difference": "0" if equal else f"{value - own:+.2g}",
                "what it computes": str(row["definition"]),
            }
    return result


def write_versions(versions: str) -> None:
    """Replace the line of the page that starts with a date and has the packages."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if "torchmetrics==" in line)
    lines[at] = versions
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="the rows into the page too")
    args = parser.parse_args()
    given = inputs()
    rows = table(ours(given), elsewhere(install(), given))
    print("\n".join(table_lines(COLUMNS, rows, first="metric, package")))
    versions = f"{date.today()}: {', '.join(PACKAGES)}."
    print(f"\n{versions}")
    if args.write:
        write_versions(versions)
        update_table(PAGE, TABLE, rows, keep=False)


if __name__ == "__main__":
    main()
