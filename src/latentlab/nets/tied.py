"""Decoders without weights of their own: the encoder's, transposed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.nets.mlp import ACTIVATIONS


class TransposedLinear(nn.Module):
    """h ↦ Wᵀ h + b: W (out, in) is `twin`'s and stays `twin`'s parameter; b (in,) is its own."""

    def __init__(self, twin: nn.Linear) -> None:
        super().__init__()
        self.twin = (twin,)  # inside a tuple it is no child: W is counted, saved and stepped once
        self.bias = nn.Parameter(torch.zeros(twin.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.twin[0].weight.T, self.bias)  # (B, in)


def tied_mlp(
    encoder: nn.Sequential, sizes: Sequence[int], *, activation: str = "relu"
) -> nn.Sequential:
    """The mirror image of `encoder`, an `mlp`: its weights transposed, last layer first.

    `sizes`, code first, say what is expected. Raises ValueError unless they are the encoder's in
    reverse: a matrix and its transpose join the same two layers.
    """
    linears = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    mirrored = [*(layer.out_features for layer in reversed(linears)), linears[0].in_features]
    if list(sizes) != mirrored:
        raise ValueError(
            f"a tied decoder has the encoder's layers in reverse, {'-'.join(map(str, mirrored))},"
            f" got {'-'.join(map(str, sizes))}: give both the same widths, or do not tie them"
        )
    layers: list[nn.Module] = []
    for linear in reversed(linears):
        layers += [TransposedLinear(linear), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
