"""Likelihood: how probable the model finds test images, by importance sampling.

    log p(x) ≈ log 1/S Σ_s p(x, z_s) / q(z_s|x),   z_s ~ q(z|x)

Burda et al. 2016, "Importance weighted autoencoders", eq. 8.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding
from latentlab.metrics.importance import ImportanceWeighted, binarized, log_likelihood
from latentlab.trained import Trained

SAMPLES = 1000
BUDGET = 2.0e8  # decoded pixels: some seconds of one core


def applies(model: Any) -> bool:
    return isinstance(model, ImportanceWeighted)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """The bound with `SAMPLES` codes an image, on as many test images as `BUDGET` allows."""
    pixels = math.prod(trained.image_shape)
    cost = pixels * (16 if trained.module.pixels.kind == "categorical" else 1)
    count = max(10, int(BUDGET / (SAMPLES * cost)))
    return measure(trained, yard.test.first(count), samples=SAMPLES, seed=yard.settings.seed)


def measure(trained: Trained, test: Split, *, samples: int, seed: int) -> Finding:
    """The likelihood of all images of `test`."""
    kind = trained.module.pixels.kind
    x = torch.cat(list(test.batches()))
    x = binarized(x, seed) if kind == "bernoulli" else x
    y = torch.zeros(len(x), dtype=torch.int64) if test.labels is None else test.labels
    log_px, elbo = log_likelihood(trained.module, x, y, samples=samples, seed=seed)
    numbers = {
        "log_px_nats": float(log_px.mean()),
        "standard_error_nats": float(log_px.std() / math.sqrt(len(x))),
        "elbo_nats": float(elbo.mean()),
        "gap_nats": float((log_px - elbo).mean()),
        "num_images": float(len(x)),
        "num_importance_samples": float(samples),
    }
    if kind == "categorical":
        numbers["bits_per_dim"] = -numbers["log_px_nats"] / (x[0].numel() * math.log(2))
    return Finding(title="Likelihood", text=_text(kind, numbers), numbers=numbers)


def _text(kind: str, numbers: dict[str, float]) -> str:
    observed = {
        "bernoulli": "test images whose pixels were drawn once as 0 or 1",
        "gaussian": "test images (a density over grey levels in [0, 1], so it may exceed 0)",
        "categorical": "test images of 256 grey levels",
    }[kind]
    return (
        f"log p(x) = {numbers['log_px_nats']:.2f} ± {numbers['standard_error_nats']:.2f} nats on "
        f"{numbers['num_images']:,.0f} {observed}, from {numbers['num_importance_samples']:,.0f} "
        f"codes each (± is the standard error over images). The ELBO is {numbers['gap_nats']:.2f} "
        "nats lower: that is what the posterior misses. Numbers of different likelihoods do not "
        "compare."
    )
