"""The metrics of the comparison: name, meaning and format of each column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Values = dict[str, float]  # key of a metric → value
COUNT = "num_trainings"  # key of the number of trainings of a model, if it has several


@dataclass(frozen=True)
class Row:
    """A row of the table: a model, or a baseline, whose `family` is empty."""

    name: str
    title: str
    family: str
    values: Values


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    `key`: key of the value in metrics.json or cost.json; <diagnostic>/<metric> for a metric of a
    diagnostic. `better`: +1 if higher is better, −1 if lower is better, 0 if neither. `range`:
    range or unit of the values. `decimals`: digits after the point; None chooses them from the
    values. `factor`: multiplied to a value before it is printed. `optional`: there is no column if
    no model has the metric.
    """

    key: str
    label: str
    group: str
    better: int
    range: str
    meaning: str
    source: str = ""
    decimals: int | None = None
    factor: float = 1.0
    optional: bool = False


SAMPLES, RECONSTRUCTION, DOWNSTREAM, COST = "Samples", "Reconstruction", "Downstream", "Cost"
METRICS = (
    Metric(
        *("fid", "FID", SAMPLES, -1, "0 … ∞"),
        "Fréchet distance between two Gaussians, fitted to the features of real and of generated"
        " images, mean over several draws of samples. The features are those of the second block"
        " of the classifier, which sees strokes and edges. FID is biased upwards for few images:"
        " compare it only with an FID of the same number of images and the same features, such as"
        " that of the row “Real images”.",
        "Heusel et al. 2017",
        decimals=1,
    ),
    Metric(
        *("fid_infinity", "FID∞", SAMPLES, -1, "about 0 … ∞"),
        "FID extrapolated to infinitely many samples, by a line in 1/N. The number of real images"
        " stays the same.",
        "Chong & Forsyth 2020",
        decimals=1,
        optional=True,
    ),
    Metric(
        *("class_fid", "Class FID", SAMPLES, -1, "0 … ∞"),
        "FID in the last layer of the classifier, where an image is little more than its class. It"
        " tells whether all classes are there, and forgives blur.",
        "Heusel et al. 2017",
        decimals=1,
        optional=True,
    ),
    Metric(
        *("kid", "KID", SAMPLES, -1, "about 0 … ∞"),
        "Squared maximum mean discrepancy of the same features with a cubic kernel. It is"
        " unbiased: equal distributions have values around 0, also below 0.",
        "Bińkowski et al. 2018",
    ),
    Metric(
        *("precision", "Precision", SAMPLES, 1, "0 … 1"),
        "Fraction of generated images inside the neighborhoods of real images. It measures image "
        "quality.",
        "Kynkäänniemi et al. 2019",
        3,
    ),
    Metric(
        *("recall", "Recall", SAMPLES, 1, "0 … 1"),
        "Fraction of real images inside the neighborhoods of generated images. It measures"
        " variety. Outliers among the generated images can increase it.",
        "Kynkäänniemi et al. 2019",
        3,
    ),
    Metric(
        *("density", "Density", SAMPLES, 1, "0 … ∞"),
        "Like precision, but counts the number of real neighborhoods that contain a generated"
        " image. It is robust to outliers. It is above 1 if generated images concentrate at the"
        " modes.",
        "Naeem et al. 2020",
        3,
    ),
    Metric(
        *("coverage", "Coverage", SAMPLES, 1, "0 … 1"),
        "Fraction of real images with a generated image in their neighborhood. It measures variety "
        "and is robust to outliers.",
        "Naeem et al. 2020",
        3,
    ),
    Metric(
        *("novelty/authenticity", "Authenticity", SAMPLES, 0, "0 … 1"),
        "Fraction of generated images that are farther from their nearest training image than this"
        " image is from its own nearest one. Copies have 0, real images that are no copies about"
        " 0.6, noise 1: it is a warning if low, and no praise if high.",
        "Alaa et al. 2022",
        2,
        optional=True,
    ),
    Metric(
        *("reconstruction_mse", "MSE", RECONSTRUCTION, -1, "0 … 1"),
        "Mean squared error per pixel value on the test split. A model without an encoder is "
        "reconstructed by latent inversion, a search for the best code with a fixed budget, on a "
        "fifth of the test images (at least 100, at most `evaluation.inversion_num_images`).",
    ),
    Metric(
        *("reconstruction_sse", "SSE", RECONSTRUCTION, -1, "0 … number of pixel values"),
        "The squared error summed over each image. PCA with codes of the same size is the best "
        "linear model.",
    ),
    Metric(
        *("psnr_db", "PSNR", RECONSTRUCTION, 1, "decibels"),
        "Peak signal-to-noise ratio, mean over images. 6 dB more means half the RMS error.",
        decimals=2,
    ),
    Metric(
        *("ssim", "SSIM", RECONSTRUCTION, 1, "−1 … 1"),
        "Structural similarity: compares local means, contrasts and correlations.",
        "Wang et al. 2004",
        3,
    ),
    Metric(
        *("likelihood/elbo_nats", "ELBO", RECONSTRUCTION, 0, "nats"),
        "Evidence lower bound of the log likelihood of a test image. Higher is better, but only"
        " among models with the same likelihood: densities of grey levels and probabilities of"
        " black and white pixels have different units. So no best model is marked.",
        "Kingma & Welling 2014",
        decimals=1,
        optional=True,
    ),
    Metric(
        *("probe_accuracy", "Probe %", DOWNSTREAM, 1, "0 … 100 %"),
        "Test accuracy of a linear classifier on the frozen features. Baseline: the same"
        " classifier on raw pixels.",
        decimals=1,
        factor=100,
    ),
    Metric(
        *("classifier_accuracy", "Classifier %", DOWNSTREAM, 1, "0 … 100 %"),
        "Accuracy of a pretrained classifier on the reconstructions: it is high if reconstructions "
        "keep the class. Baseline: its accuracy on the test images.",
        decimals=1,
        factor=100,
    ),
    Metric(
        *("latent_dim", "Latent dim", COST, 0, "number of values"),
        "Size of the code. Larger codes reconstruct better, so compare models of equal size.",
        decimals=0,
    ),
    Metric(
        *("num_labels", "Labels", COST, 0, "number of images"),
        "Training images whose labels the model was given. A model with labels is easier to sample"
        " well: compare models with equally many.",
        decimals=0,
        optional=True,
    ),
    Metric(*("num_parameters", "Parameters", COST, 0, "number"), "Parameters of the model."),
    Metric(
        *("train_seconds", "Train s", COST, -1, "seconds"),
        "Wall time of the training, with the fit of its sampler. The device is given with each"
        " model.",
    ),
    Metric(
        *("images_per_second", "Images/s", COST, 1, "per second"),
        "Training images per second.",
        decimals=0,
    ),
    Metric(
        *("peak_memory_mb", "Peak MB", COST, -1, "megabytes"),
        "Peak memory of the training process.",
        decimals=0,
    ),
    Metric(
        *(COUNT, "n", COST, 0, "number of trainings"),
        "Trainings of the model, each with its own seed. With several, values are means ± the"
        " standard deviation of one training.",
        decimals=0,
        optional=True,
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def decimals_of(metric: Metric, rows: Iterable[Row]) -> int:
    """Digits after the point: one number for the whole column, so that the points are aligned.

    The median of the models and of real images gets three significant digits. One very small value,
    or a baseline with a very different value, has no influence.
    """
    if metric.decimals is not None:
        return metric.decimals
    sizes = [
        abs(row.values[metric.key])
        for row in rows
        if (row.family or row.name == "real")
        and math.isfinite(row.values.get(metric.key, math.nan))
    ]
    places = sorted(2 - math.floor(math.log10(size)) for size in sizes if size)
    if not places:
        return 2
    return min(6, max(0, places[len(places) // 2]))  # statistics takes 6 ms to import


def text_of(metric: Metric, value: float | None, decimals: int) -> str:
    """Format a value. A missing value is “–”; NaN and ∞ are shown as such."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if metric.key == "num_parameters":
        return compact(value)
    return f"{value * metric.factor:,.{decimals}f}".replace("-", "−")


def compact(value: float) -> str:
    """A short number: 0.25, 1500, 20k, 3.1M. The minus sign is −."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:.3g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def best_of(metric: Metric, rows: Sequence[Row]) -> float | None:
    """The best finite value among the models; None for fewer than two models."""
    values = [
        row.values[metric.key]
        for row in rows
        if row.family and math.isfinite(row.values.get(metric.key, math.nan))
    ]
    if not metric.better or len(values) < 2:
        return None
    return max(values) if metric.better > 0 else min(values)
