"""Likelihood: how probable the model finds test images, by importance sampling.

    log p(x) ≈ log 1/S Σ_s p(x, z_s) / q(z_s|x),   z_s ~ q(z|x)

Burda et al. 2016, "Importance weighted autoencoders", eq. 8.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding
from latentlab.metrics.importance import ImportanceWeighted, binarized, log_likelihood
from latentlab.trained import Trained

SAMPLES = 1000
BUDGET = 2.0e8  # decoded pixels: some seconds of one core
ELBO_SAMPLES = 5  # codes per image for the bound over the whole test split


def applies(model: Any) -> bool:
    return isinstance(model, ImportanceWeighted)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """log p(x) of the test split: the ELBO of all images, and its gap to log p(x) of some."""
    model, seed = trained.module, yard.settings.seed
    x, y = observed(trained, yard.test, seed)
    cost = x[0].numel() * (16 if model.pixels.kind == "categorical" else 1)
    count = max(10, int(BUDGET / (SAMPLES * cost)))
    _, elbo = log_likelihood(model, x, y, samples=ELBO_SAMPLES, seed=seed)
    log_px, below = log_likelihood(model, x[:count], y[:count], samples=SAMPLES, seed=seed)
    gap = log_px - below  # (count,) nats
    numbers = {
        "log_px_nats": float(elbo.mean() + gap.mean()),
        "elbo_nats": float(elbo.mean()),
        "gap_nats": float(gap.mean()),
        "gap_standard_error_nats": float(gap.std() / math.sqrt(len(gap))),
        "num_gap_images": float(len(gap)),
        "num_importance_samples": float(SAMPLES),
    }
    if model.pixels.kind == "categorical":
        numbers["bits_per_dim"] = -numbers["log_px_nats"] / (x[0].numel() * math.log(2))
    text = _text(model.pixels.kind, len(x), numbers)
    return Finding(title="Likelihood", text=text, numbers=numbers)


def observed(trained: Trained, test: Split, seed: int) -> tuple[Tensor, Tensor]:
    """What the likelihood is of, (N, C, H, W): binary draws under a Bernoulli; and the labels."""
    x = torch.cat(list(test.batches()))
    y = torch.zeros(len(x), dtype=torch.int64) if test.labels is None else test.labels
    return (binarized(x, seed) if trained.module.pixels.kind == "bernoulli" else x), y


def _text(kind: str, images: int, numbers: dict[str, float]) -> str:
    seen = {
        "bernoulli": "test images whose pixels were drawn once as 0 or 1",
        "gaussian": "test images (a density over grey levels in [0, 1], so it may exceed 0)",
        "categorical": "test images of 256 grey levels",
    }[kind]
    bits = f", {numbers['bits_per_dim']:.3f} bits a value" if "bits_per_dim" in numbers else ""
    return (
        f"log p(x) = {numbers['log_px_nats']:.2f} nats{bits}: the ELBO of {images:,} {seen}, "
        f"{numbers['elbo_nats']:.2f}, and what it lacks, {numbers['gap_nats']:.2f} ± "
        f"{numbers['gap_standard_error_nats']:.2f}, found on the first "
        f"{numbers['num_gap_images']:,.0f} of them with {numbers['num_importance_samples']:,.0f} "
        "codes each (± is the standard error over these). Numbers of different likelihoods do not "
        "compare."
    )
