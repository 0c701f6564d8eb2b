"""Decoder noise: what a stochastic decoder models beyond its mean.

The bits per dimension of test images given their codes, and samples of p(x|z).

Goodfellow et al. 2016, "Deep Learning", section 14.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import StochasticDecoder, to_float
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.discretized_gaussian import LEVELS, to_levels
from latentlab.losses.pixel_likelihood import bits_per_dim
from latentlab.losses.reconstruction import squared_error
from latentlab.visualization.grids import save_rows

NUM_IMAGES = 1000  # test images
NUM_SAMPLED = 200  # of them, with sampled pixels
NUM_SHOWN = 10


def applies(model: Any) -> bool:
    return isinstance(model, StochasticDecoder)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Compare bits per dimension with those of independent pixels, and samples with the mean."""
    model, x = trained.module, to_float(evaluator.test.first(NUM_IMAGES).images)
    binary = model.likelihood.name == "bernoulli"
    unit = "binary_bits_per_dim" if binary else "bits_per_dim"
    nll = torch.cat([model.nll(part, model.encode(part)) for part in x.split(100)])
    baseline = (binary_marginal_nll if binary else marginal_nll)(evaluator.train.images, x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(evaluator.settings.seed)
        z = trained.encode(x)
        mean, sample = trained.decode(z), model.sample_pixels(z[:NUM_SAMPLED])
        rows = figure_rows(trained, x[:NUM_SHOWN], z[:NUM_SHOWN])
    metrics = {
        unit: float(bits_per_dim(nll, x[0].numel()).mean()),
        f"marginal_{unit}": float(bits_per_dim(baseline, x[0].numel()).mean()),
        "sse_of_mean": float(squared_error(mean, x).mean()),
        "sse_of_sample": float(squared_error(sample, x[:NUM_SAMPLED]).mean()),
    }
    caption = "Image, mean, two samples, standard deviation (white: the largest of the image)"
    return Result(
        title="Decoder noise",
        summary=_summary(metrics, unit, binary),
        metrics=metrics,
        figures=[Figure("samples", caption, partial(save_rows, rows))],
    )


def _summary(metrics: Mapping[str, float], unit: str, binary: bool) -> str:
    values = "black-and-white value" if binary else "8-bit value"
    return (
        f"Given its code, a test image costs {metrics[unit]:.3f} bits per {values}. Without a "
        "code, with the level frequencies of each pixel, it costs "
        f"{metrics[f'marginal_{unit}']:.3f} bits. The bits of the code are not included. Samples "
        "are noisy, because pixels are independent given the code. A sample has a larger error "
        "than the mean. All other figures therefore show the mean."
    )


def figure_rows(trained: TrainedModel, x: Tensor, z: Tensor) -> Tensor:
    """Five rows (5, B, C, H, W): image, mean, two samples, standard deviation scaled to [0, 1]."""
    model = trained.module
    std = model.decode_std(z)
    largest = std.flatten(1).amax(1).clamp_min(1e-12)[:, None, None, None]
    samples = [model.sample_pixels(z) for _ in range(2)]
    return torch.stack([x, trained.decode(z), *samples, std / largest])


def marginal_nll(train: Tensor, x: Tensor) -> Tensor:
    """−Σ_i log p_i(k_i) in nats (B,); p_i: training histogram of pixel i, plus 1 in each bin.

    `train` is uint8 (N, C, H, W), `x` (B, C, H, W) in [0, 1].
    """
    num_pixels = train[0].numel()
    counts = torch.ones(num_pixels * LEVELS)
    offsets = torch.arange(num_pixels) * LEVELS
    for part in train.flatten(1).split(5000):
        cells = (part + offsets).flatten()
        counts += torch.bincount(cells, minlength=len(counts))
    log_p = (counts / (len(train) + LEVELS)).log()
    return -log_p[to_levels(x).flatten(1) + offsets].sum(1)


def binary_marginal_nll(train: Tensor, x: Tensor) -> Tensor:
    """Cross-entropy (B,) in nats of x (B, C, H, W) with the mean of `train`, uint8 (N, C, H, W).

    One black and one white image are added to the training images.
    """
    total = torch.stack([part.sum(0) for part in train.split(5000)]).sum(0)  # int64, in parts
    p = (total / 255 + 1) / (len(train) + 2)
    return -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
