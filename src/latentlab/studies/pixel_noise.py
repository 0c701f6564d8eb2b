"""Pixel noise: what a stochastic decoder knows beyond its mean, in bits and in pictures.

Goodfellow et al. 2016, "Deep Learning", section 14.4.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import to_float
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.losses.levels import LEVELS, bits_per_dim, to_levels
from latentlab.losses.likelihoods import squared_error
from latentlab.plots import save_rows
from latentlab.trained import Trained

SCORED = 1000  # test images
SHOWN = 10


@runtime_checkable
class StochasticDecoder(Protocol):
    """A decoder p(x|z) of independent pixels."""

    pixels: int
    likelihood: str

    def nll(self, x: Tensor, places: Tensor) -> Tensor: ...

    def sample_pixels(self, z: Tensor) -> Tensor: ...

    def decode_std(self, z: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, StochasticDecoder)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Bits per dimension against pixels without a code, and draws beside the mean."""
    model, x = trained.module, to_float(yard.test.first(SCORED).images)
    places = torch.arange(model.pixels)
    nll = torch.cat([model.nll(part, places) for part in x.split(100)])
    binary = model.likelihood == "bernoulli"
    baseline = (binary_marginal if binary else marginal)(yard.train.images, x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(yard.settings.seed)
        z = trained.encode(x)
        mean, sample = trained.decode(z), model.sample_pixels(z[:200])
        shown = rows(trained, x[:SHOWN], z[:SHOWN])
    unit = "binary_bits_per_dim" if binary else "bits_per_dim"
    numbers = {
        unit: float(bits_per_dim(nll, model.pixels).mean()),
        f"marginal_{unit}": float(bits_per_dim(baseline, model.pixels).mean()),
        "sse_of_mean": float(squared_error(mean, x).mean()),
        "sse_of_sample": float(squared_error(sample, x[:200]).mean()),
    }
    return Finding(
        title="Pixel noise",
        text=f"Given its code, a test image costs {numbers[unit]:.3f} bits per number"
        f"{' in black and white' if binary else ' of 8 bits'}; without a code, by how often each "
        f"level occurs at each place, {numbers[f'marginal_{unit}']:.3f}. The code itself is not "
        "counted. Draws are grainy: given the code the pixels know nothing of each other, so a "
        "draw has more error than the mean, which is why pictures show means.",
        numbers=numbers,
        pictures=[
            Picture(
                "draws",
                "Image, mean, two draws, standard deviation (white: the largest of the image)",
                partial(save_rows, shown),
            )
        ],
    )


def rows(trained: Trained, x: Tensor, z: Tensor) -> Tensor:
    """Five rows (5, B, C, H, W): image, mean, two draws, standard deviation scaled to [0, 1]."""
    model = trained.module
    std = model.decode_std(z)
    largest = std.flatten(1).amax(1).clamp_min(1e-12)[:, None, None, None]
    draws = [model.sample_pixels(z) for _ in range(2)]
    return torch.stack([x, trained.decode(z), *draws, std / largest])


def marginal(train: Tensor, x: Tensor) -> Tensor:
    """−Σ_i log p_i(k_i), nats (B,), of the training histogram of each pixel, one count added.

    `train` is uint8 (N, C, H, W), `x` (B, C, H, W) in [0, 1].
    """
    places = train[0].numel()
    counts = torch.ones(places * LEVELS)
    offsets = torch.arange(places) * LEVELS
    for part in train.flatten(1).split(5000):
        cells = (part.long() + offsets).flatten()
        counts += torch.bincount(cells, minlength=len(counts))
    log_p = (counts / (len(train) + LEVELS)).log()
    return -log_p[to_levels(x).flatten(1) + offsets].sum(1)


def binary_marginal(train: Tensor, x: Tensor) -> Tensor:
    """The same of black and white: cross-entropy of x with the mean training image, (B,)."""
    total = sum(part.double().sum(0) for part in train.split(5000)) / 255
    odds = ((torch.as_tensor(total) + 1) / (len(train) + 2)).float()
    return -(x * odds.log() + (1 - x) * (1 - odds).log()).flatten(1).sum(1)
