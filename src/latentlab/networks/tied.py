"""Decoders with tied weights: the weights of the encoder, transposed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.networks.mlp import ACTIVATIONS


class TransposedLinear(nn.Module):
    """h ↦ Wᵀ h + b: W (out, in) is a parameter of `source` only; b (in,) is a new parameter."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        # In a tuple `source` is no submodule, so that W is counted, saved and updated once.
        self.source = (source,)
        self.bias = nn.Parameter(torch.zeros(source.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.source[0].weight.T, self.bias)  # (B, in)


def tied_mlp(
    encoder: nn.Sequential, sizes: Sequence[int], *, activation: str = "relu"
) -> nn.Sequential:
    """Return the mirror image of `encoder`, an `mlp`: its weights transposed, last layer first.

    `sizes`: the sizes of the decoder's layers, from the code to the image. Raises ValueError unless
    they are those of the encoder in reverse: a matrix and its transpose join the same two layers.
    """
    linears = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    mirrored = [*(layer.out_features for layer in reversed(linears)), linears[0].in_features]
    if list(sizes) != mirrored:
        raise ValueError(
            f"a tied decoder has the layers of the encoder in reverse,"
            f" {'-'.join(map(str, mirrored))}, got {'-'.join(map(str, sizes))}: choose equal"
            " hidden widths, or an untied model"
        )
    layers: list[nn.Module] = []
    for linear in reversed(linears):
        layers += [TransposedLinear(linear), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
