"""log p(x) of a class-conditional model: the sum over all classes.

log p(x) = log Σ_k p(k) p(x|k)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentlab.diagnostics.metrics.importance_sampling import log_likelihood
from latentlab.samplers import ClassConditional

MIN_PROBABILITY = 1e-6  # of a class that is never sampled: log p(y) stays finite


def sum_over_classes(
    model: Any,
    x: Tensor,
    y: Tensor,
    log_px_given_y: Tensor,
    log_p_y: Tensor,
    *,
    num_codes: int,
    seed: int,
) -> Tensor:
    """log p(x) of images (N, C, H, W), nats, (N,).

    `log_px_given_y` (N,) is log p(x|y) of the true classes y, `log_p_y` (K,) the log probability of
    each class. All other classes together get `num_codes` codes, because they rarely contribute
    much.
    """
    joint = torch.empty(len(x), model.num_classes, dtype=log_px_given_y.dtype)  # (N, K)
    samples = [max(1, num_codes // model.num_classes)]
    for label in range(model.num_classes):
        labels = torch.full_like(y, label)
        joint[:, label] = log_likelihood(model, x, labels, num_samples=samples, seed=seed).log_px
    joint = joint.scatter(1, y[:, None], log_px_given_y[:, None]) + log_p_y
    return joint.logsumexp(1)


def class_probabilities(sampler: Any, classes: int) -> Tensor:
    """p(y), float64 (K,), of a ClassConditional sampler that was fitted; else uniform."""
    if not isinstance(sampler, ClassConditional) or len(sampler.class_frequencies) != classes:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    frequencies = sampler.class_frequencies.cpu()
    p_y = frequencies.double() / frequencies.sum().item()
    return p_y.clamp_min(MIN_PROBABILITY)
