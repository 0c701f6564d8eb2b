"""The fully connected pair of the semi-supervised GAN: a classifier under noise, a generator."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class GaussianNoise(nn.Module):
    """x + σ ε in training, x itself in evaluation."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * torch.randn_like(x) if self.training else x


def noisy_mlp(sizes: Sequence[int], *, noise: tuple[float, float]) -> nn.Sequential:
    """Layers sizes[0] → … → sizes[-1], each with weight normalisation, noise before and ReLU after.

    `noise`: standard deviations at the input and between layers (Salimans et al. 2016, section 5;
    weight normalisation: Salimans & Kingma 2016). Raises ValueError below two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"a network needs at least an input and an output size, got {list(sizes)}")
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers += [
            GaussianNoise(noise[0] if index == 0 else noise[1]),
            weight_norm(nn.Linear(fan_in, fan_out)),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def softplus_mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Layers sizes[0] → … → sizes[-1] with batch normalisation and softplus between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
        layers += [
            nn.Linear(fan_in, fan_out, bias=False),
            nn.BatchNorm1d(fan_out),
            nn.Softplus(),
        ]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
