"""Do the metrics of samples mean something on these data? Measured without any model.

- Six kinds of damage to real images, each in growing steps: FID and KID must rise at each step.
- Noise must have a precision and a density near 0.
- Real images must have a precision, recall and coverage near 1.
- The features must not be class codes: their effective dimension must be 8 or more.

Training images are damaged and compared with validation images, so no test image decides which
metrics are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Split, to_float
from latentlab.evaluation.evaluator import Evaluator
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import GaussianStatistics, fid
from latentlab.metrics.kid import kernel_distance
from latentlab.metrics.prdc import prdc

MAX_IMAGES = 2000  # of each side
FLOOR_DRAWS, NOISE_DRAWS = 20, 5
BLUR = (0.05, 0.075, 0.1, 0.125, 0.19)  # standard deviation, as a fraction of the side
NOISE = (0.05, 0.1, 0.2, 0.4, 0.8)  # standard deviation
SHIFT = (1 / 14, 1 / 7, 3 / 14)  # fraction of the side
DROPPED = (0.1, 0.2, 0.4, 0.6, 0.8)  # fraction of the classes
CLASS_ORDERS = 5  # FID of fewer classes depends on which are left: mean over these orders
REPEATED = (1 / 2, 1 / 4, 1 / 8, 1 / 25)  # fraction of different images
MIXED = (0.02, 0.05, 0.1, 0.25, 0.5)  # fraction of noise images
MAX_NOISE = {"uniform noise": (0.05, 0.05), "shuffled pixels": (0.2, 0.1)}  # precision, density
MIN_REAL = 0.7  # precision, recall and coverage of real images

Evidence = dict[str, Any]


def measure_evidence(evaluator: Evaluator, real: Mapping[str, float], val: Split) -> Evidence:
    """Return the content of results/reference/evidence.json.

    `real`: the metrics of real images against real images. Keys of the result: `damages` (name →
    levels, fid, kid, `rises` of both, and the first level above the interval of real images),
    `floor_fid` (the 2.5 % and 97.5 % quantile for undamaged images), `noise` (name → precision,
    density), `effective_dimension`, `num_images`, `unreliable` (metric → sentence).
    """
    count = min(MAX_IMAGES, len(val), len(evaluator.train))
    generator = torch.Generator().manual_seed(evaluator.settings.seed)
    features = extract(evaluator.feature_extractor, val.some(count, seed=0))
    floor = _floor(evaluator, features, count, generator)
    damages = _damages(evaluator, features, count, floor[1], generator)
    evidence: Evidence = {
        "damages": damages,
        "floor_fid": list(floor),
        "noise": _noise(evaluator, features, count, generator),
        "effective_dimension": effective_dimension(features),
        "num_images": count,
    }
    return {**evidence, "unreliable": unreliable(evidence, real)}


def effective_dimension(features: Tensor) -> float:
    """(Σλ)² / Σλ² of the eigenvalues λ of the covariance of features (N, F), in [1, F]."""
    values = torch.linalg.eigvalsh(GaussianStatistics.of(features).cov).clamp_min(0)
    return float(values.sum().square() / values.square().sum()) if values.sum() > 0 else 1.0


def unreliable(evidence: Evidence, real: Mapping[str, float]) -> dict[str, str]:
    """Metric → one sentence, for each metric that cannot be trusted on these data."""
    found: dict[str, str] = {}
    for name, (most_precision, most_density) in MAX_NOISE.items():
        values = evidence["noise"][name]
        for key, most in (("precision", most_precision), ("density", most_density)):
            if values[key] > most:
                found.setdefault(key, f"{name} has a {key} of {values[key]:.2f} on these images")
    for key in ("precision", "recall", "coverage"):
        if real.get(key, 1.0) < MIN_REAL:
            found.setdefault(key, f"real images have a {key} of only {real[key]:.2f}")
    for key, most_failures in (("fid", 0), ("kid", 1)):
        failed = [name for name, d in evidence["damages"].items() if not d["rises"][key]]
        if len(failed) > most_failures:
            found[key] = f"it does not rise with growing damage by {' and '.join(failed)}"
    return found


def rises(values: list[float]) -> bool:
    """True if each value is larger than the one before."""
    return all(after > before for before, after in pairwise(values))


def _floor(
    evaluator: Evaluator, real: Tensor, count: int, generator: torch.Generator
) -> tuple[float, float]:
    """The 2.5 % and the 97.5 % quantile of the FID of `count` random training images."""
    train = extract(evaluator.feature_extractor, evaluator.train.some(4 * count, seed=1))
    orders = (torch.randperm(len(train), generator=generator)[:count] for _ in range(FLOOR_DRAWS))
    values = torch.tensor([fid(real, train[order]) for order in orders], dtype=torch.float64)
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _damages(
    evaluator: Evaluator, real: Tensor, count: int, highest: float, generator: torch.Generator
) -> Evidence:
    statistics = GaussianStatistics.of(real)
    values: dict[str, dict[float, list[tuple[float, float]]]] = {}  # name → level → (FID, KID)
    for name, level, images in damaged_sets(evaluator.train, count, generator):
        fake = extract(evaluator.feature_extractor, images)
        pair = fid(statistics, fake), kernel_distance(real, fake)
        values.setdefault(name, {}).setdefault(level, []).append(pair)
    return {name: _damage(levels, highest) for name, levels in values.items()}


def _damage(levels: Mapping[float, Sequence[tuple[float, float]]], highest: float) -> Evidence:
    """Level → (FID, KID) of each set, as means. `highest`: the largest FID of undamaged images."""
    fids, kids = ([fmean(pair[i] for pair in pairs) for pairs in levels.values()] for i in (0, 1))
    return {
        "levels": list(levels),
        "fid": fids,
        "kid": kids,
        "first_seen": next((at for at, f in zip(levels, fids, strict=True) if f > highest), None),
        "rises": {"fid": rises(fids), "kid": rises(kids)},
    }


def damaged_sets(
    train: Split, count: int, generator: torch.Generator
) -> Iterator[tuple[str, float, Tensor]]:
    """Yield (name, level, images (count, C, H, W)), the levels of a name in growing order.

    A level can have several sets. FID and KID at the level are means over them.
    """
    split = train.some(count, seed=0)
    x, side = to_float(split.images), split.images.shape[-1]
    for level in BLUR:
        yield "blur", level, blurred(x, level * side)
    eps = torch.randn(x.shape, generator=generator)
    for level in NOISE:
        yield "noise", level, (x + level * eps).clamp(0, 1)
    for least, level in enumerate(SHIFT, start=1):
        pixels = max(least, round(level * side))
        yield "shift", pixels / side, shifted(x, pixels)
    if train.labels is not None and (classes := train.labels.unique()).numel() > 1:
        numbers = {min(len(classes) - 1, max(1, round(f * len(classes)))) for f in DROPPED}
        for dropped in sorted(numbers):
            for _ in range(CLASS_ORDERS):
                left = classes[torch.randperm(len(classes), generator=generator)[dropped:]]
                rows = torch.isin(train.labels, left).nonzero().flatten()
                images = _resampled(train, rows, count, generator)
                yield "classes dropped", dropped / len(classes), images
    for level in REPEATED:
        rows = torch.arange(count) % max(2, round(level * count))
        yield "few images repeated", 1 - level, x[rows]
    noise = torch.rand(x.shape, generator=generator)
    for level in MIXED:
        mixed = max(1, round(level * count))
        yield "noise images mixed in", level, torch.cat([noise[:mixed], x[mixed:]])


def _resampled(train: Split, rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` random images of these rows; an image is repeated only if there are too few."""
    order = torch.cat(
        [torch.randperm(len(rows), generator=generator) for _ in range(-(-count // len(rows)))]
    )
    return to_float(train.images[rows[order[:count]]])


def blurred(x: Tensor, std: float) -> Tensor:
    """Images (B, C, H, W) blurred by a Gaussian of `std` pixels, with weights that sum to 1."""
    down, across = (_blur_matrix(length, std) for length in x.shape[-2:])
    return down @ x @ across.T


def _blur_matrix(length: int, std: float) -> Tensor:
    place = torch.arange(length, dtype=torch.float32)
    weights = torch.exp(-((place[:, None] - place) ** 2) / (2 * std**2))
    return weights / weights.sum(1, keepdim=True)


def shifted(x: Tensor, pixels: int) -> Tensor:
    """Images moved to the right and down; the border that appears repeats the outermost pixels."""
    padded = torch.nn.functional.pad(x, (pixels, 0, pixels, 0), mode="replicate")
    return padded[..., : x.shape[-2], : x.shape[-1]]


def _noise(
    evaluator: Evaluator, real: Tensor, count: int, generator: torch.Generator
) -> dict[str, dict[str, float]]:
    """Precision and density of uniform noise, and of pixels drawn from each pixel's histogram."""
    x = to_float(evaluator.train.some(4 * count, seed=0).images)
    flat, sums = x.flatten(1), {name: torch.zeros(2) for name in MAX_NOISE}
    for _ in range(NOISE_DRAWS):
        rows = torch.randint(len(x), (count, flat.shape[1]), generator=generator)
        images = {
            "uniform noise": torch.rand((count, *x.shape[1:]), generator=generator),
            "shuffled pixels": flat.gather(0, rows).unflatten(1, x.shape[1:]),
        }
        for name, each in images.items():
            found = prdc(real, extract(evaluator.feature_extractor, each))
            sums[name] += torch.tensor([found["precision"], found["density"]])
    return {
        name: dict(zip(("precision", "density"), (s / NOISE_DRAWS).tolist(), strict=True))
        for name, s in sums.items()
    }
