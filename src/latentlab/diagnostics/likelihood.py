"""Likelihood of test images, bounded from below by importance sampling.

    log p(x) ≥ E[log 1/S Σ_s p(x, z_s) / q(z_s|x)],   z_s ~ q(z|x),   with equality for S → ∞

For a class-conditional model this bounds log p(x|y). Then p(x) = Σ_y p(y) p(x|y), which can be
compared with p(x) of other models.

The bound is reported for several S. It is called log p(x) only where it has converged: the last
step of S changes it by less than its error, and enough codes contribute to it. Otherwise it has the
sign ≥, and the result has a warning. `make ais` measures log p(x) more exactly, in a minute.

Burda et al. 2016, "Importance weighted autoencoders", eq. 8. Salakhutdinov & Murray 2008, "On the
quantitative analysis of deep belief networks" (binary test images).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import ClassConditionalModel, LikelihoodModel, Split
from latentlab.diagnostics import MAX_TEST_IMAGES
from latentlab.diagnostics.metrics.class_likelihood import class_probabilities, sum_over_classes
from latentlab.diagnostics.metrics.grey_levels import num_grey_levels
from latentlab.diagnostics.metrics.importance_sampling import Bounds, binarized, log_likelihood
from latentlab.evaluation.evaluator import Evaluator, subset_size
from latentlab.evaluation.results import Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.discretized_gaussian import LEVELS
from latentlab.losses.pixel_likelihood import bits_per_dim
from latentlab.metrics.intervals import mean_half_width

NUM_SAMPLES = (1, 10, 100, 1000, 5000)  # codes per image for the bounds of log p(x)
ELBO_SAMPLES = 5  # codes per image for the ELBO, which is measured on all test images
NUM_BINARIZATIONS = 3  # draws of black-and-white test images for the ELBO
MAX_DECODED = 2.0e8  # decoded pixels for log p(x): some seconds of one CPU core
LEVELS_SAMPLES, LEVELS_FRACTION = NUM_SAMPLES[:-1], 0.05  # for bits: a mass costs 20 densities
MIN_EFFECTIVE = 20  # effective sample size; with less, some codes decide the bound
MAX_LOW_FRACTION = 0.05  # of the images may have less
OBSERVATIONS = {
    "bernoulli": "test images whose pixels are sampled as 0 or 1, three times",
    "gaussian": "test images (a density of grey levels in [0, 1], so it can be above 0)",
    "discretized_gaussian": "test images of 256 grey levels",
    "categorical": "test images of 256 grey levels",
}


@dataclass(frozen=True)
class Estimate:
    """Lower bounds of log p(x) in nats: the ELBO of N images, and more for the first n of them.

    `elbo` (N,) is that of log p(x), of a class-conditional model that of log p(x, y). `log_px` (n,)
    has the bound with the most codes, `gap` (n,) its distance to the ELBO of the same codes.
    `given_class`: the bound of log p(x|y), None without classes. `bounds`: of log p(x), or of
    log p(x|y); its first row is the ELBO.
    """

    elbo: Tensor
    gap: Tensor
    bounds: Bounds
    given_class: float | None

    @property
    def log_px(self) -> float:
        return float(self.elbo.mean() + self.gap.mean())


def applies(model: Any) -> bool:
    return isinstance(model, LikelihoodModel)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Bound log p(x) of the test split: the ELBO of all images, plus its gap for some of them.

    The gap is log p(x) − ELBO. Measuring it on few images suffices, because it varies less.
    """
    test, seed = evaluator.test.first(MAX_TEST_IMAGES), evaluator.settings.seed
    name = trained.module.likelihood.name
    estimated = estimate(trained, test, seed=seed)
    metrics = _metrics(estimated, seed)
    if name != "bernoulli":
        metrics |= _bits(trained, test, estimated.log_px, seed)
    return Result(
        title="Likelihood",
        summary=_summary(OBSERVATIONS[name], len(estimated.elbo), metrics),
        metrics=metrics,
        table=_table(estimated),
        warnings=[] if metrics["log_px_converged"] else [_warning(metrics)],
    )


def _bits(trained: TrainedModel, test: Split, log_px: float, seed: int) -> dict[str, float]:
    """Bits per value, as a probability of the grey levels that the images have.

    `log_px`: of the likelihood as it is. It counts for a categorical one, which learns the levels,
    and for a discretized Gaussian on images of 256 levels. Other Gaussians are scored again.
    """
    likelihood, levels = trained.module.likelihood, LEVELS
    if "gaussian" in likelihood.name:
        levels = num_grey_levels(test.images)
    if likelihood.name == "gaussian" or levels != LEVELS:
        with likelihood.scored_by_levels(levels):
            log_px = estimate(
                trained, test, seed=seed, num_samples=LEVELS_SAMPLES, fraction=LEVELS_FRACTION
            ).log_px
    bits = bits_per_dim(torch.tensor(-log_px), test.images[0].numel())
    return {"bits_per_dim": float(bits), "num_grey_levels": float(levels)}


def estimate(
    trained: TrainedModel,
    test: Split,
    *,
    seed: int,
    num_samples: Sequence[int] = NUM_SAMPLES,
    fraction: float = 1.0,
) -> Estimate:
    """Bound log p(x) of the test images with growing numbers of codes.

    `fraction`: of the budget MAX_DECODED.
    """
    model = trained.module
    classes = model.num_classes if isinstance(model, ClassConditionalModel) else 0
    observed, y = observations(trained, test, seed)
    x = observed[0]
    count = num_gap_images(model, x, classes, codes=num_samples[-1], fraction=fraction)
    elbo = torch.stack(
        [
            log_likelihood(model, each, y, num_samples=[ELBO_SAMPLES], seed=seed).elbo
            for each in observed
        ]
    ).mean(0)
    found = log_likelihood(model, x[:count], y[:count], num_samples=num_samples, seed=seed)
    if not classes:
        return Estimate(elbo, found.log_px - found.elbo, found, None)
    given_class = float(elbo.mean() + (found.log_px - found.elbo).mean())
    log_p_y = class_probabilities(trained.sampler, classes).log()
    log_px = sum_over_classes(
        model, x[:count], y[:count], found.log_px, log_p_y, num_codes=NUM_SAMPLES[-1], seed=seed
    )
    gap = log_px - (found.elbo + log_p_y[y[:count]])  # log p(x, y) ≤ log p(x)
    return Estimate(elbo + log_p_y[y], gap, found, given_class)


def num_gap_images(
    model: LikelihoodModel,
    x: Tensor,
    classes: int,
    *,
    codes: int = NUM_SAMPLES[-1],
    fraction: float = 1.0,
) -> int:
    """A tenth of the images `x`, or what MAX_DECODED allows if this is less; at least 10.

    `codes`: of each image. `fraction`: of MAX_DECODED.
    """
    cost = x[0].numel() * (16 if model.likelihood.name == "categorical" else 1)
    codes += max(codes, classes) if classes else 0
    most = int(fraction * MAX_DECODED / (codes * cost))
    return subset_size(len(x), most=max(10, most), divisor=10)


def observations(trained: TrainedModel, test: Split, seed: int) -> tuple[list[Tensor], Tensor]:
    """Images (N, C, H, W) as the likelihood models them, and labels (N,).

    A Bernoulli likelihood gets NUM_BINARIZATIONS draws of binary images, another one the images.
    """
    x = torch.cat(list(test.batches()))
    y = torch.zeros(len(x), dtype=torch.int64) if test.labels is None else test.labels
    if trained.module.likelihood.name != "bernoulli":
        return [x], y
    return [binarized(x, seed + draw) for draw in range(NUM_BINARIZATIONS)], y


def _metrics(found: Estimate, seed: int) -> dict[str, float]:
    size = found.bounds.effective_sample_size
    elbo_ci95, gap_ci95 = (mean_half_width(v, seed=seed) for v in (found.elbo, found.gap))
    low = (size < MIN_EFFECTIVE).double().mean().item()
    rise = float((found.bounds.bounds[-1] - found.bounds.bounds[-2]).mean())
    converged = low <= MAX_LOW_FRACTION and rise <= gap_ci95  # about two standard errors
    metrics = {
        "log_px_nats": found.log_px,
        "log_px_ci95_nats": math.hypot(elbo_ci95, gap_ci95),
        "log_px_converged": float(converged),
        "elbo_nats": float(found.elbo.mean()),
        "elbo_ci95_nats": elbo_ci95,
        "gap_nats": float(found.gap.mean()),
        "gap_ci95_nats": gap_ci95,
        "effective_sample_size": float(size.median()),
        "low_effective_fraction": low,
        "last_rise_nats": rise,
        "num_gap_images": float(len(found.gap)),
        "num_importance_samples": float(NUM_SAMPLES[-1]),
    }
    if found.given_class is not None:
        metrics["log_px_given_class_nats"] = found.given_class
    return metrics


def _table(found: Estimate) -> dict[str, dict[str, float]]:
    """The bound for each number of codes: ELBO of all images + mean rise of the gap images."""
    means = found.bounds.bounds.mean(1)
    last = found.log_px if found.given_class is None else found.given_class
    rows = (means - means[-1] + last).tolist()
    name = "bound of log p(x), nats" if found.given_class is None else "bound of log p(x|y), nats"
    return {
        f"{count:,} {'code' if count == 1 else 'codes'}": {name: value}
        for count, value in zip(NUM_SAMPLES, rows, strict=True)
    }


def _warning(metrics: Mapping[str, float]) -> str:
    size = metrics["effective_sample_size"]
    return f"log p(x) has not converged (effective sample size {size:.1f})"


def _summary(observations: str, count: int, metrics: Mapping[str, float]) -> str:
    sign = "=" if metrics["log_px_converged"] else "≥"
    bits = (
        f", {'' if sign == '=' else '≤ '}{metrics['bits_per_dim']:.3f} bits per value (as a "
        f"probability of {metrics['num_grey_levels']:.0f} grey levels)"
        if "bits_per_dim" in metrics
        else ""
    )
    given_class = (
        " The model is class-conditional: p(x) is the sum over all classes, weighted by their "
        "probabilities, and the ELBO is that of image and class. Given the class, log p(x|y) = "
        f"{metrics['log_px_given_class_nats']:.2f} nats."
        if "log_px_given_class_nats" in metrics
        else ""
    )
    size = (
        f"The median effective sample size is {metrics['effective_sample_size']:.1f}, and "
        f"{100 * metrics['low_effective_fraction']:.0f} % of the images are below {MIN_EFFECTIVE}. "
    )
    not_converged = "The bound has not converged, so log p(x) is larger. " if sign == "≥" else ""
    return (
        f"log p(x) {sign} {metrics['log_px_nats']:.2f} ± {metrics['log_px_ci95_nats']:.2f} nats"
        f"{bits}. It is the sum of two terms. The ELBO of {count:,} {observations} is "
        f"{metrics['elbo_nats']:.2f}. The gap between log p(x) and the ELBO is "
        f"{metrics['gap_nats']:.2f} ± {metrics['gap_ci95_nats']:.2f}, for the first "
        f"{metrics['num_gap_images']:,.0f} images with {metrics['num_importance_samples']:,.0f} "
        f"codes each (± is half of a 95 % interval, bootstrap over images). {not_converged}{size}"
        f"The table has the bound with fewer codes.{given_class} Values of different likelihoods "
        "cannot be compared."
    )
