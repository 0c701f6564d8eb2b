"""The columns of the comparison: what each number is called, means, and how it is printed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from latentlab.report.curves import compact

Numbers = dict[str, float]


class Row(Protocol):
    """What a column needs to know of a row; a baseline's family is empty."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def values(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Metric:
    """One column: how it is named, read and printed. `better`: +1 higher, −1 lower, 0 neither.

    `decimals` None: as many as the values of the column ask for.
    """

    key: str
    label: str
    group: str
    better: int
    span: str
    meaning: str
    source: str = ""
    decimals: int | None = None
    factor: float = 1.0
    optional: bool = False  # a column only where some model has it


SAMPLES, RECONSTRUCTION, DOWNSTREAM, COST = "Samples", "Reconstruction", "Downstream", "Cost"
METRICS = (
    Metric(
        *("fid", "FID", SAMPLES, -1, "0 … ∞"),
        "Fréchet distance between two Gaussians fitted to the features of real and of drawn images."
        " Biased upwards at small N: read it against the floor (real against real at the same N) "
        "and never against a number from another N or another feature space.",
        "Heusel et al. 2017",
        decimals=1,
    ),
    Metric(
        *("kid", "KID", SAMPLES, -1, "about 0 … ∞"),
        "Squared maximum mean discrepancy of the same features under a cubic kernel. Unbiased, so "
        "equal distributions give values around zero, on either side of it.",
        "Bińkowski et al. 2018",
    ),
    Metric(
        *("precision", "Precision", SAMPLES, 1, "0 … 1"),
        "Share of drawn images that lie within the real images' neighbourhoods: fidelity.",
        "Kynkäänniemi et al. 2019",
        3,
    ),
    Metric(
        *("recall", "Recall", SAMPLES, 1, "0 … 1"),
        "Share of real images that lie within the drawn images' neighbourhoods: variety. Outliers "
        "among the drawn images can inflate it.",
        "Kynkäänniemi et al. 2019",
        3,
    ),
    Metric(
        *("density", "Density", SAMPLES, 1, "0 … ∞"),
        "Precision that counts in how many real neighbourhoods a drawn image lies; robust to "
        "outliers, and above 1 where drawn images crowd the modes.",
        "Naeem et al. 2020",
        3,
    ),
    Metric(
        *("coverage", "Coverage", SAMPLES, 1, "0 … 1"),
        "Share of real images that have a drawn image in their neighbourhood: variety, robust to "
        "outliers.",
        "Naeem et al. 2020",
        3,
    ),
    Metric(
        *("reconstruction_mse", "MSE", RECONSTRUCTION, -1, "0 … 1"),
        "Mean squared error per pixel on the test split. A GAN has no encoder: it is reconstructed "
        "by a search for the best code under a fixed budget.",
    ),
    Metric(
        *("reconstruction_sse", "SSE", RECONSTRUCTION, -1, "0 … pixels"),
        "The same error summed over the pixels of an image; with PCA of the same code size as the "
        "best any linear model can do.",
    ),
    Metric(
        *("psnr_db", "PSNR", RECONSTRUCTION, 1, "decibels"),
        "Peak signal-to-noise ratio, the mean over images: six decibels halve the error's size.",
        decimals=2,
    ),
    Metric(
        *("ssim", "SSIM", RECONSTRUCTION, 1, "−1 … 1"),
        "Structural similarity: local means, contrasts and correlations compared.",
        "Wang et al. 2004",
        3,
    ),
    Metric(
        *("elbo_nats", "ELBO", RECONSTRUCTION, 0, "nats"),
        "Evidence lower bound per test image, the higher the better, yet only among models with "
        "the same likelihood: a density of grey levels and a probability of black and white are "
        "different units, so no best is marked.",
        "Kingma & Welling 2014",
        decimals=1,
        optional=True,
    ),
    Metric(
        *("probe_accuracy", "Probe %", DOWNSTREAM, 1, "0 … 100 %"),
        "Test accuracy of a linear classifier on the frozen features: how plainly the classes "
        "lie in them. Baseline: the same classifier on raw pixels.",
        decimals=1,
        factor=100,
    ),
    Metric(
        *("judge_accuracy", "Judge %", DOWNSTREAM, 1, "0 … 100 %"),
        "Accuracy of a pretrained classifier on the reconstructions: whether the class survives "
        "the code. Baseline: its accuracy on the originals.",
        decimals=1,
        factor=100,
    ),
    Metric(
        *("latent_dim", "Code", COST, 0, "numbers"),
        "Size of the code. More numbers reconstruct better: compare at equal size.",
        decimals=0,
    ),
    Metric(*("parameters", "Weights", COST, 0, "count"), "Trained parameters.", decimals=0),
    Metric(
        *("train_seconds", "Train s", COST, -1, "seconds"),
        "Wall time of training on the machine that is named with each model.",
    ),
    Metric(
        *("images_per_second", "Images/s", COST, 1, "per second"),
        "Training images seen per second.",
        decimals=0,
    ),
    Metric(
        *("peak_memory_mb", "Peak MB", COST, -1, "megabytes"),
        "Peak memory of the training process.",
        decimals=0,
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def decimals_of(metric: Metric, rows: Iterable[Row]) -> int:
    """Digits after the point, one choice for the column so that the points stand below each other.

    The middle value of the models and of real data gets three digits: neither a tiny value nor a
    baseline that is far off may make the column unreadable.
    """
    if metric.decimals is not None:
        return metric.decimals
    found = [
        abs(row.values[metric.key])
        for row in rows
        if (row.family or row.name == "real")
        and math.isfinite(row.values.get(metric.key, math.nan))
    ]
    places = [2 - math.floor(math.log10(size)) for size in found if size]
    if not places:
        return 2
    return min(6, max(0, statistics.median_high(places)))


def text_of(metric: Metric, value: float | None, decimals: int) -> str:
    """A number for the eye: "–" for absent, never zero; NaN and ∞ stay what they are."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if metric.key == "parameters":
        return compact(value)
    return f"{value * metric.factor:,.{decimals}f}".replace("-", "−")


def best_of(metric: Metric, rows: Sequence[Row]) -> float | None:
    """The best value among the models, where there are at least two to compare."""
    found = [
        row.values[metric.key]
        for row in rows
        if row.family and math.isfinite(row.values.get(metric.key, math.nan))
    ]
    if not metric.better or len(found) < 2:
        return None
    return max(found) if metric.better > 0 else min(found)
