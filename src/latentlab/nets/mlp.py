"""Fully connected networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def mlp(sizes: Sequence[int], *, activation: str = "relu") -> nn.Sequential:
    """Linear layers sizes[0] → … → sizes[-1] with `activation` between them, none at the end.

    Raises ValueError for an activation that is not in ACTIVATIONS, and below two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"an MLP needs at least an input and an output size, got {list(sizes)}")
    if activation not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise ValueError(f"unknown activation {activation!r}: choose one of {known}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def init_lecun(module: nn.Module) -> None:
    """N(0, 1/fan_in) for weights, 0 for biases: each layer keeps its input's variance.

    The start that SELU is made for (Klambauer et al. 2017, section 2, "Initialization"). For
    `Module.apply`; leaves all but linear layers alone.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
        nn.init.zeros_(module.bias)
