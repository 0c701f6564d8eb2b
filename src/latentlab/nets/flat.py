"""Fully connected players of a GAN."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn


def dense(
    fan_in: int, fan_out: int, *, slope: float = 0.0, batch_norm: bool = True
) -> nn.Sequential:
    """Linear, batch normalisation, LeakyReLU: (B, fan_in) → (B, fan_out); slope 0 is ReLU."""
    return nn.Sequential(
        nn.Linear(fan_in, fan_out, bias=not batch_norm),
        *([nn.BatchNorm1d(fan_out)] if batch_norm else []),
        nn.LeakyReLU(slope),
    )


class FlatGenerator(nn.Module):
    """Codes (B, D) → logits (B, C, H, W): linear, batch normalisation, ReLU, at each width."""

    def __init__(
        self, image_shape: tuple[int, int, int], *, latent_dim: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise([latent_dim, *hidden]):
            layers.append(dense(fan_in, fan_out))
        last = [latent_dim, *hidden][-1]
        self.layers = nn.Sequential(*layers, nn.Linear(last, math.prod(image_shape)))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).unflatten(1, self.image_shape)


class FlatDiscriminator(nn.Module):
    """Images (B, C, H, W) → logits (B,): linear, LeakyReLU 0.2, at each width."""

    def __init__(self, image_shape: tuple[int, int, int], *, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [math.prod(image_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x)).squeeze(1)
