"""Evidence that the metrics on mnist_5k mean something.

    make evidence
    python bench/evidence.py --write        # into docs/results.md too

Prints three tables for the models of params.yaml, trained with seed 0 in .bench/mnist_5k:

- the metrics of real images, of PCA's Gaussian and of uniform noise;
- each model's FID over five sample seeds, and its FID on full MNIST, which is read from
  docs/results.md;
- whether differences between models exceed the spread over sample seeds, and whether full MNIST
  has the same order of models.

Models that are missing are trained and evaluated, as bench/results.py does. Nothing is trained on
full MNIST.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import hypot
from pathlib import Path

import results
from tables import read_table, table_lines, update_table

from latentlab.config import load_project

DATA = "mnist_5k"
FULL = "mnist, 1 seeds"  # the table of docs/results.md with FIDs on full MNIST
SAMPLE_SEEDS = 5
MIN_RATIO = 2.0  # standard deviations of a difference that count as more than chance
BASELINE_COLUMNS = {"FID": ("fid", 1), "precision": ("precision", 3), "density": ("density", 3)}
MODEL_COLUMNS = ("FID", "standard deviation", "ratio", "class FID on full MNIST")

Rows = dict[str, dict[str, str]]
Spread = Mapping[str, tuple[float, float]]  # model → mean and standard deviation of its FID


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(load_project(results.ROOT).models))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (1)")
    parser.add_argument("--write", action="store_true", help="the tables into docs/results.md too")
    args = parser.parse_args()
    work = results.work_folder(DATA)
    failed = results.run_models(work, DATA, [0], args.models, jobs=args.jobs)
    names = [name for name in args.models if name not in failed]
    fids = sample_fids(work, names)
    measured = {name: (statistics.mean(v), statistics.stdev(v)) for name, v in fids.items()}
    full = full_fids(results.PAGE)
    reference = json.loads((work / "results/reference/metrics.json").read_text())
    for table, first, columns, rows in (
        ("baselines", "images", list(BASELINE_COLUMNS), baseline_rows(reference)),
        ("sample seeds", "model", MODEL_COLUMNS, model_rows(measured, full)),
        ("summary", "question", ["answer"], summary_rows(measured, full)),
    ):
        print("\n".join(table_lines(columns, rows, first=first)), end="\n\n")
        if args.write:
            update_table(results.PAGE, f"{DATA}, {table}", rows, keep=False)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def sample_fids(folder: Path, names: Sequence[str]) -> dict[str, list[float]]:
    """Return the FID of each model with each sample seed, measured as stage evaluate does."""
    from latentlab.evaluation.evaluate import draw_samples
    from latentlab.evaluation.reference import load_reference
    from latentlab.evaluation.setup import make_evaluator
    from latentlab.inference.trained import load_trained

    project = load_project(folder)
    evaluator = make_evaluator(project, load_trained("classifier", project=folder).module)
    real = load_reference(project.reference / "reference.pt").real
    fids = {}
    for name in names:
        trained = load_trained(name, project=folder)
        draws = draw_samples(trained, evaluator, SAMPLE_SEEDS)
        fids[name] = [evaluator.score_samples([x], real).metrics["fid"] for x in draws]
    return fids


def full_fids(page: Path) -> dict[str, float]:
    """Model → FID on full MNIST, from the page's table. The mark † of a name is dropped."""
    fids = {}
    for first, row in read_table(page, FULL).items():
        name = re.match(r"`(\w+)`", first)
        if name and (number := re.match(r"[\d.]+", row["class FID"].replace(",", ""))):
            fids[name[1]] = float(number[0])
    return fids


def ranked(measured: Spread) -> list[str]:
    """Names, the least FID first."""
    return sorted(measured, key=lambda name: measured[name][0])


def difference_ratios(measured: Spread) -> dict[str, float]:
    """Model → difference of its mean FID to the model before it in rank, in standard deviations.

    The standard deviation is that of a difference of two single FIDs, √(s₁² + s₂²).
    """
    ratios = {}
    for before, name in pairwise(ranked(measured)):
        (mean_1, std_1), (mean_2, std_2) = measured[before], measured[name]
        std = hypot(std_1, std_2)
        ratios[name] = (mean_2 - mean_1) / std if std > 0 else float("inf")
    return ratios


def rank_correlation(measured: Spread, full: Mapping[str, float]) -> float:
    """Spearman's rank correlation of the FIDs, over the models that both have."""
    from scipy.stats import spearmanr

    names = [name for name in measured if name in full]
    pairs = [measured[name][0] for name in names], [full[name] for name in names]
    return float(spearmanr(*pairs).statistic) if len(names) > 2 else float("nan")


def baseline_rows(reference: Mapping[str, Mapping[str, float]]) -> Rows:
    baselines = {label: key for label, key in results.BASELINES.items() if key != "pixels"}
    return {
        label: {
            column: f"{reference[key][metric]:,.{digits}f}"
            for column, (metric, digits) in BASELINE_COLUMNS.items()
        }
        for label, key in baselines.items()
    }


def model_rows(measured: Spread, full: Mapping[str, float]) -> Rows:
    ratios, rows = difference_ratios(measured), {}
    for name in ranked(measured):
        mean, std = measured[name]
        numbers = (mean, std, ratios.get(name), full.get(name))
        cells = ("–" if number is None else f"{number:.1f}" for number in numbers)
        rows[f"`{name}`"] = dict(zip(MODEL_COLUMNS, cells, strict=True))
    return rows


def summary_rows(measured: Spread, full: Mapping[str, float]) -> Rows:
    ratios = list(difference_ratios(measured).values())
    larger = sum(ratio > MIN_RATIO for ratio in ratios)
    common = [name for name in measured if name in full]
    absent = [f"`{name}`" for name in measured if name not in full]
    answers = {
        f"neighbours in rank that differ by more than {MIN_RATIO:g} standard deviations": (
            f"{larger} of {len(ratios)}"
        ),
        "Spearman's rank correlation with full MNIST": (
            f"{rank_correlation(measured, full):.2f} ({len(common)} models)"
        ),
        "models without an FID on full MNIST, left out": ", ".join(absent) or "none",
    }
    return {question: {"answer": answer} for question, answer in answers.items()}


if __name__ == "__main__":
    main()
