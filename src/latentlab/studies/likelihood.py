"""Likelihood: how probable the model finds test images, by importance sampling.

    log p(x) ≈ log 1/S Σ_s p(x, z_s) / q(z_s|x),   z_s ~ q(z|x)

A model that is told the class has p(x|y) so; then p(x) = Σ_y p(y) p(x|y), which compares with the
others' p(x).

Burda et al. 2016, "Importance weighted autoencoders", eq. 8.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding
from latentlab.metrics.importance import ImportanceWeighted, binarized, log_likelihood
from latentlab.studies import MOST_TEST_IMAGES
from latentlab.trained import Trained

SAMPLES = 1000
BUDGET = 2.0e8  # decoded pixels: some seconds of one core
ELBO_SAMPLES = 5  # codes per image for the bound over all test images
RARE = 1e-6  # the share of a class that is never drawn: its images shall not cost infinitely much


@runtime_checkable
class ToldTheClass(ImportanceWeighted, Protocol):
    """`log_weights` are of p(x, z|y), y one of `num_classes`."""

    num_classes: int


def applies(model: Any) -> bool:
    return isinstance(model, ImportanceWeighted)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """log p(x) of the test split: the ELBO of all images, and its gap to log p(x) of some."""
    model, seed = trained.module, yard.settings.seed
    x, y = observed(trained, yard.test.first(MOST_TEST_IMAGES), seed)
    classes = model.num_classes if isinstance(model, ToldTheClass) else 0
    cost = x[0].numel() * (16 if model.pixels.kind == "categorical" else 1)
    codes = SAMPLES + (max(SAMPLES, classes) if classes else 0)  # an image
    count = max(10, int(BUDGET / (codes * cost)))
    _, elbo = log_likelihood(model, x, y, samples=ELBO_SAMPLES, seed=seed)
    log_px, below = log_likelihood(model, x[:count], y[:count], samples=SAMPLES, seed=seed)
    given = {}
    if classes:
        given["log_px_given_class_nats"] = float(elbo.mean() + (log_px - below).mean())
        log_share = class_shares(trained.sampler, classes).log()
        elbo, below = elbo + log_share[y], below + log_share[y[:count]]  # of log p(x, y) ≤ log p(x)
        log_px = over_classes(model, x[:count], y[:count], log_px, log_share, seed=seed)
    gap = log_px - below  # (count,) nats
    numbers = {
        "log_px_nats": float(elbo.mean() + gap.mean()),
        "elbo_nats": float(elbo.mean()),
        "gap_nats": float(gap.mean()),
        "gap_standard_error_nats": float(gap.std() / math.sqrt(len(gap))),
        "num_gap_images": float(len(gap)),
        "num_importance_samples": float(SAMPLES),
        **given,
    }
    if model.pixels.kind == "categorical":
        numbers["bits_per_dim"] = -numbers["log_px_nats"] / (x[0].numel() * math.log(2))
    text = _text(model.pixels.kind, len(x), numbers)
    return Finding(title="Likelihood", text=text, numbers=numbers)


def over_classes(
    model: ToldTheClass, x: Tensor, y: Tensor, given: Tensor, log_share: Tensor, *, seed: int
) -> Tensor:
    """log p(x) = log Σ_k p(k) p(x|k), nats, (N,), from `given`, log p(x|y) of the own classes y.

    The other classes share as many codes as the own one has: they rarely add much.
    """
    joint = torch.empty(len(x), model.num_classes, dtype=given.dtype)  # (N, K)
    samples = max(1, SAMPLES // model.num_classes)
    for kind in range(model.num_classes):
        told = torch.full_like(y, kind)
        joint[:, kind] = log_likelihood(model, x, told, samples=samples, seed=seed)[0]
    joint = joint.scatter(1, y[:, None], given[:, None]) + log_share
    return joint.logsumexp(1)


def class_shares(sampler: Any, classes: int) -> Tensor:
    """p(y), (K,): the sampler's `shares` where it has such, else every class alike."""
    shares = getattr(sampler, "shares", None)
    if shares is None or len(shares) != classes:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    return (shares.cpu().double() / shares.sum().item()).clamp_min(RARE)


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
    told = (
        " The model is told the class: p(x) is the sum over all classes, each by its share, and the"
        f" ELBO that of image and class. Given its class, log p(x|y) ="
        f" {numbers['log_px_given_class_nats']:.2f} nats."
        if "log_px_given_class_nats" in numbers
        else ""
    )
    return (
        f"log p(x) = {numbers['log_px_nats']:.2f} nats{bits}: the ELBO of {images:,} {seen}, "
        f"{numbers['elbo_nats']:.2f}, and what it lacks, {numbers['gap_nats']:.2f} ± "
        f"{numbers['gap_standard_error_nats']:.2f}, found on the first "
        f"{numbers['num_gap_images']:,.0f} of them with {numbers['num_importance_samples']:,.0f} "
        f"codes each (± is the standard error over these).{told} Numbers of different likelihoods "
        "do not compare."
    )
