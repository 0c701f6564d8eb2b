"""Likelihood of test images, estimated by importance sampling.

    log p(x) ≈ log 1/S Σ_s p(x, z_s) / q(z_s|x),   z_s ~ q(z|x)

For a class-conditional model this estimates log p(x|y). Then p(x) = Σ_y p(y) p(x|y), which can be
compared with p(x) of other models.

Burda et al. 2016, "Importance weighted autoencoders", eq. 8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import ClassConditionalModel, LikelihoodModel, Split
from latentlab.diagnostics import MAX_TEST_IMAGES
from latentlab.diagnostics.metrics.importance_sampling import binarized, log_likelihood
from latentlab.evaluation.evaluator import Evaluator, subset_size
from latentlab.evaluation.results import Result
from latentlab.inference.trained import TrainedModel
from latentlab.samplers import ClassConditional

NUM_SAMPLES = 1000  # codes per image for log p(x)
ELBO_SAMPLES = 5  # codes per image for the ELBO, which is measured on all test images
MAX_DECODED = 2.0e8  # decoded pixels for log p(x): some seconds of one CPU core
MIN_CLASS_PROBABILITY = 1e-6  # of a class that is never sampled: log p(y) stays finite
OBSERVATIONS = {
    "bernoulli": "test images whose pixels are sampled once as 0 or 1",
    "gaussian": "test images (a density of grey levels in [0, 1], so it can be above 0)",
    "discretized_gaussian": "test images of 256 grey levels",
    "categorical": "test images of 256 grey levels",
}


def applies(model: Any) -> bool:
    return isinstance(model, LikelihoodModel)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Estimate log p(x) of the test split: the ELBO of all images, plus its gap for some of them.

    The gap is log p(x) − ELBO. Measuring it on few images suffices, because it varies less.
    """
    model, seed = trained.module, evaluator.settings.seed
    x, y = observations(trained, evaluator.test.first(MAX_TEST_IMAGES), seed)
    classes = model.num_classes if isinstance(model, ClassConditionalModel) else 0
    count = num_gap_images(model, x, classes)
    _, elbo = log_likelihood(model, x, y, num_samples=ELBO_SAMPLES, seed=seed)
    log_px, bound = log_likelihood(model, x[:count], y[:count], num_samples=NUM_SAMPLES, seed=seed)
    metrics = {}
    if classes:
        metrics["log_px_given_class_nats"] = float(elbo.mean() + (log_px - bound).mean())
        log_p_y = class_probabilities(trained.sampler, classes).log()
        elbo, bound = elbo + log_p_y[y], bound + log_p_y[y[:count]]  # of log p(x, y) ≤ log p(x)
        log_px = sum_over_classes(model, x[:count], y[:count], log_px, log_p_y, seed=seed)
    gap = log_px - bound  # (count,) nats
    metrics |= {
        "log_px_nats": float(elbo.mean() + gap.mean()),
        "elbo_nats": float(elbo.mean()),
        "gap_nats": float(gap.mean()),
        "gap_standard_error_nats": float(gap.std() / math.sqrt(len(gap))),
        "num_gap_images": float(len(gap)),
        "num_importance_samples": float(NUM_SAMPLES),
    }
    if model.likelihood.name in ("discretized_gaussian", "categorical"):
        metrics["bits_per_dim"] = -metrics["log_px_nats"] / (x[0].numel() * math.log(2))
    summary = _summary(OBSERVATIONS[model.likelihood.name], len(x), metrics)
    return Result(title="Likelihood", summary=summary, metrics=metrics)


def num_gap_images(model: LikelihoodModel, x: Tensor, classes: int) -> int:
    """A tenth of the images `x`, or what MAX_DECODED allows if this is less; at least 10."""
    cost = x[0].numel() * (16 if model.likelihood.name == "categorical" else 1)
    codes = NUM_SAMPLES + (max(NUM_SAMPLES, classes) if classes else 0)  # per image
    return subset_size(len(x), most=max(10, int(MAX_DECODED / (codes * cost))), divisor=10)


def sum_over_classes(
    model: Any, x: Tensor, y: Tensor, log_px_given_y: Tensor, log_p_y: Tensor, *, seed: int
) -> Tensor:
    """log p(x) = log Σ_k p(k) p(x|k), nats, (N,).

    `log_px_given_y` (N,) is log p(x|y) of the true classes y. All other classes together get as
    many codes as the true class has, because they rarely contribute much.
    """
    joint = torch.empty(len(x), model.num_classes, dtype=log_px_given_y.dtype)  # (N, K)
    samples = max(1, NUM_SAMPLES // model.num_classes)
    for label in range(model.num_classes):
        labels = torch.full_like(y, label)
        joint[:, label], _ = log_likelihood(model, x, labels, num_samples=samples, seed=seed)
    joint = joint.scatter(1, y[:, None], log_px_given_y[:, None]) + log_p_y
    return joint.logsumexp(1)


def class_probabilities(sampler: Any, classes: int) -> Tensor:
    """p(y), float64 (K,), of a ClassConditional sampler that was fitted; else uniform."""
    if not isinstance(sampler, ClassConditional) or len(sampler.class_frequencies) != classes:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    frequencies = sampler.class_frequencies.cpu()
    p_y = frequencies.double() / frequencies.sum().item()
    return p_y.clamp_min(MIN_CLASS_PROBABILITY)


def observations(trained: TrainedModel, test: Split, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W), sampled as 0 or 1 for a Bernoulli likelihood, and labels (N,)."""
    x = torch.cat(list(test.batches()))
    y = torch.zeros(len(x), dtype=torch.int64) if test.labels is None else test.labels
    return (binarized(x, seed) if trained.module.likelihood.name == "bernoulli" else x), y


def _summary(observations: str, count: int, metrics: Mapping[str, float]) -> str:
    bits = f", {metrics['bits_per_dim']:.3f} bits per value" if "bits_per_dim" in metrics else ""
    given_class = (
        " The model is class-conditional: p(x) is the sum over all classes, weighted by their "
        "probabilities, and the ELBO is that of image and class. Given the class, log p(x|y) = "
        f"{metrics['log_px_given_class_nats']:.2f} nats."
        if "log_px_given_class_nats" in metrics
        else ""
    )
    return (
        f"log p(x) = {metrics['log_px_nats']:.2f} nats{bits}. It is the sum of two terms. The ELBO "
        f"of {count:,} {observations} is {metrics['elbo_nats']:.2f}. The gap between log p(x) and "
        f"the ELBO is {metrics['gap_nats']:.2f} ± {metrics['gap_standard_error_nats']:.2f} (± is "
        f"the standard error), for the first {metrics['num_gap_images']:,.0f} images with "
        f"{metrics['num_importance_samples']:,.0f} codes each.{given_class} Values of different "
        "likelihoods cannot be compared."
    )
