"""What a stochastic decoder says of the pixels: Bernoulli, Gaussian or categorical, as p(x|z)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from latentlab.losses.likelihoods import bernoulli_nll, gaussian_nll
from latentlab.losses.precision import at_least_single

KINDS = ("bernoulli", "gaussian", "categorical")
LEVELS = 256  # grey levels of a stored image
WIDTH = 8  # numbers per value from which the 256 scores are made
AT_ONCE = 2**10  # values whose 256 scores are in memory together: 1 MiB, which a cache holds
AT_ONCE_ON_GPU = 2**16  # 64 MiB: few and large kernels


class _ScoreLevels(torch.autograd.Function):
    """−log softmax(h Wᵀ + b)[level] of rows h (N, F), with 256 scores at hand for a few rows only.

    The scores are made again on the way back, where they become the gradient, p − 1[level]: they
    never leave the cache, and an image of n values costs n · F numbers of memory, not n · 256.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, level: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight, bias, level)
        size = _at_once(h)
        with torch.autocast(h.device.type, enabled=False):
            losses = [
                F.cross_entropy(F.linear(rows, weight, bias), some, reduction="none")
                for rows, some in zip(h.split(size), level.split(size), strict=True)
            ]
        return torch.cat(losses)  # (N,)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, bias, level = ctx.saved_tensors
        to_h, to_weight, to_bias = (torch.zeros_like(t) for t in (h, weight, bias))
        size = _at_once(h)
        with torch.autocast(h.device.type, enabled=False):  # a manual backward lies inside of one
            for start in range(0, len(h), size):
                part = slice(start, start + size)
                slope = F.linear(h[part], weight, bias).softmax(1)
                slope[torch.arange(len(slope), device=h.device), level[part]] -= 1
                slope *= grad[part].unsqueeze(1)
                torch.mm(slope, weight, out=to_h[part])
                to_weight.addmm_(slope.T, h[part])
                to_bias += slope.sum(0)
        return to_h, to_weight, to_bias, None


def categorical_nll(h: Tensor, scores: nn.Linear, x: Tensor) -> Tensor:
    """−Σ_pixels log softmax(scores(h))[level of x], nats, (B,). h (B, C, H, W, F), 256 scores."""
    level = (x * (LEVELS - 1)).round().long().clamp(0, LEVELS - 1)  # (B, C, H, W)
    rows, weight, bias = (
        at_least_single(t) for t in (h.flatten(0, -2), scores.weight, scores.bias)
    )
    return _ScoreLevels.apply(rows, weight, bias, level.flatten()).view(len(x), -1).sum(1)


class PixelLikelihood(nn.Module):
    """p(x|z) from what a decoder puts out: `outputs` numbers per value of the image.

    bernoulli: the output is a logit, p(x = 1). gaussian: mean σ(output) and one standard deviation
    for all pixels, `scale`, learned where `scale` is None (Rybkin et al. 2021, "Simple and
    effective VAE training with calibrated decoders"). categorical: a softmax over the 256 grey
    levels, whose scores are a linear map, shared by all pixels, of 8 outputs. `binary`: the
    observation is a draw Bernoulli(x) of each pixel, anew at each use (Burda et al. 2016, section
    5.1): only then is the Bernoulli a likelihood of what is observed.

    Raises ValueError for another kind, scale ≤ 0, a scale without a Gaussian, and for `binary`
    observations under another likelihood than Bernoulli's.
    """

    def __init__(
        self, kind: str = "bernoulli", *, scale: float | None = None, binary: bool = False
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"likelihood is {kind!r}: choose one of {', '.join(KINDS)}")
        if scale is not None and scale <= 0:
            raise ValueError(f"scale is a standard deviation and must be > 0, got {scale}")
        if scale is not None and kind != "gaussian":
            raise ValueError(f"scale is {scale}, but a {kind} likelihood has none: leave it out")
        if binary and kind != "bernoulli":
            raise ValueError(
                f"binary pixels under a {kind} likelihood: take likelihood: bernoulli, or leave"
                " binarize out"
            )
        self.kind, self.binary = kind, binary
        self.outputs = WIDTH if kind == "categorical" else 1
        if kind == "gaussian":
            start = torch.tensor(math.log(0.1 if scale is None else scale))
            self.log_scale = nn.Parameter(start, requires_grad=scale is None)
        if kind == "categorical":
            self.scores = nn.Linear(WIDTH, LEVELS)

    def observe(self, x: Tensor) -> Tensor:
        """What the likelihood is of: x itself, or a binary draw of it."""
        return torch.bernoulli(x) if self.binary else x

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x|z] in [0, 1], (B, C, H, W), of outputs (B, C · `self.outputs`, H, W)."""
        if self.kind != "categorical":
            return outputs.sigmoid()
        levels = torch.linspace(0, 1, LEVELS, device=outputs.device, dtype=outputs.dtype)
        hidden = _per_value(outputs)
        parts = hidden.flatten(0, -2).split(_at_once(hidden))
        means = [self.scores(part).softmax(-1) @ levels for part in parts]
        return torch.cat(means).view(hidden.shape[:-1]).clamp(0, 1)

    def nll(self, outputs: Tensor, x: Tensor) -> Tensor:
        """−log p(x|z), nats, (B,): of a density where Gaussian, so maybe negative."""
        if self.kind == "bernoulli":
            return bernoulli_nll(outputs, x)
        if self.kind == "gaussian":
            # a bfloat16 mean would round log σ as well, a bias of some percent
            return gaussian_nll(self.mean(at_least_single(outputs)), self.log_scale, x)
        return categorical_nll(_per_value(outputs), self.scores, x)


def _at_once(h: Tensor) -> int:
    return AT_ONCE if h.device.type == "cpu" else AT_ONCE_ON_GPU


def _per_value(outputs: Tensor) -> Tensor:
    """What the scores are made of: (B, C · 8, H, W) → (B, C, H, W, 8)."""
    return F.gelu(outputs.unflatten(1, (-1, WIDTH)).movedim(2, -1))
