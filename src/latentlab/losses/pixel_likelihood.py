"""p(x|z) of the pixels of an image, given what the decoder computes from z.

    bernoulli              p(x = 1) = σ(l)
    gaussian               a density, N(x; σ(l), s²)
    discretized_gaussian   p(k) = mass of N(l, s²) on the bin of grey level k
    categorical            p(k) = softmax(V h + b)_k over the 256 grey levels k

The pixels are independent given z. Images are float in [0, 1]; grey level k is k / 255.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from latentlab.losses.discretized_gaussian import (
    LEVELS,
    VALUES_AT_ONCE,
    VALUES_AT_ONCE_GPU,
    gaussian_log_mass,
    gaussian_mean,
    gaussian_std,
    to_levels,
)
from latentlab.losses.reconstruction import at_least_single, bernoulli_nll, gaussian_nll

Likelihood = Literal["bernoulli", "gaussian", "discretized_gaussian", "categorical"]
Scale = float | Literal["pixel"] | None

FEATURES = 8  # decoder outputs from which the logits of the 256 levels are computed


def num_outputs(name: str, scale: Scale = None) -> int:
    """Number of decoder outputs for each value of the image."""
    if name == "categorical":
        return FEATURES
    return 2 if scale == "pixel" else 1


class PixelLikelihood(nn.Module):
    """The likelihood `name` of images x (B, C, H, W), from decoder outputs (B, C · F, H, W).

    F is `self.outputs`. `scale`: standard deviation of a Gaussian. A number is fixed; None learns
    one for all pixels (Rybkin et al. 2021, "Simple and effective VAE training with calibrated
    decoders"); "pixel" reads one for each pixel from the decoder, above `min_scale`, and is for
    discretized_gaussian only. `binary`: the observation is a sample of Bernoulli(x), a new one at
    each use (Burda et al. 2016, section 5.1).

    categorical (van den Oord et al. 2016, "Pixel recurrent neural networks"): the logits of the
    256 levels are V · gelu(h) + b, h (8,) the outputs for one value. With `num_pixels`, they are
    V · h + b_i: each of the C · H · W values has a bias of its own.

    Raises ValueError for an unknown name, for a scale that is not > 0 or belongs to no Gaussian,
    and for `binary` with another likelihood than bernoulli.
    """

    def __init__(
        self,
        name: Likelihood = "bernoulli",
        *,
        scale: Scale = None,
        min_scale: float = 0.02,
        binary: bool = False,
        num_pixels: int | None = None,
    ) -> None:
        super().__init__()
        _check(name, scale, min_scale, binary)
        self.name, self.scale, self.binary = name, scale, binary
        self.outputs = num_outputs(name, scale)
        self.num_levels: int | None = None  # see scored_by_levels
        if name in ("gaussian", "discretized_gaussian"):
            start = 0.1 if scale is None or scale == "pixel" else scale
            self.log_scale = nn.Parameter(torch.tensor(math.log(start)))
            self.log_scale.requires_grad_(scale is None or scale == "pixel")
            self.min_log_scale = math.log(min_scale)
        if name == "categorical":
            self.head = nn.Linear(FEATURES, LEVELS, bias=num_pixels is None)
            self.pixel_bias = nn.Parameter(torch.zeros(num_pixels, LEVELS)) if num_pixels else None

    def output_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Image shape (C, H, W) → shape of the decoder's outputs, (C · F, H, W)."""
        channels, height, width = image_shape
        return self.outputs * channels, height, width

    def observe(self, x: Tensor) -> Tensor:
        """The image that is scored: a binary sample of x if `binary`, else x."""
        return torch.bernoulli(x) if self.binary else x

    @contextmanager
    def scored_by_levels(self, num_levels: int) -> Iterator[None]:
        """Within this context, `nll` of a Gaussian is −log P of `num_levels` grey levels.

        A density becomes a probability, and images with few grey levels get bins that are as wide
        as the distance of their levels. Raises ValueError for a likelihood that is no Gaussian.
        """
        if "gaussian" not in self.name:
            raise ValueError(
                f"the likelihood is {self.name}: only gaussian and discretized_gaussian can be"
                " scored with other levels. Use `nll` as it is"
            )
        self.num_levels = num_levels
        try:
            yield
        finally:
            self.num_levels = None

    def nll(self, outputs: Tensor, x: Tensor, pixels: Tensor | None = None) -> Tensor:
        """−log p(x|z), nats, (B,). It can be negative for gaussian, which is a density.

        bernoulli with grey x: the mean of −log p over binary samples of x. `pixels` (P,): indices
        of the values that x (B, 1, P, 1) holds; categorical selects their biases.
        """
        if self.name == "bernoulli":
            return bernoulli_nll(outputs, x)
        if self.name == "gaussian" and self.num_levels is None:
            # a bfloat16 mean would round log σ as well, an error of some percent
            return gaussian_nll(self.mean(at_least_single(outputs)), self.log_scale, x)
        if "gaussian" in self.name:
            count = self.num_levels or LEVELS
            log_mass = gaussian_log_mass(*self._gaussian(outputs), to_levels(x, count), count)
            return -log_mass.flatten(1).sum(1)
        hidden, bias = self._head_inputs(outputs, pixels)
        level = to_levels(x).reshape(hidden.shape[:2])
        return categorical_nll(hidden, self.head.weight, bias, level).view(len(x), -1).sum(1)

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x|z] = Σ_k P(k) k / 255 in [0, 1], (B, C, H, W); gaussian: of the density."""
        if self.name == "categorical":
            return self._moment(outputs, 1).clamp(0, 1)
        if self.name == "discretized_gaussian":
            return gaussian_mean(*self._gaussian(outputs))
        return outputs.sigmoid()

    def std(self, outputs: Tensor) -> Tensor:
        """Standard deviation of each pixel, (B, C, H, W), of the distribution `sample` draws."""
        if self.name == "discretized_gaussian":
            return gaussian_std(*self._gaussian(outputs))
        mean = self.mean(outputs)
        if self.name == "bernoulli":
            return (mean * (1 - mean)).sqrt()
        if self.name == "categorical":
            variance = self._moment(outputs, 2) - self._moment(outputs, 1).square()
            return variance.clamp_min(0).sqrt()
        return self.log_scale.exp().expand_as(mean)

    def sample(self, outputs: Tensor) -> Tensor:
        """One sample x ~ p(x|z), (B, C, H, W), from torch's global generator."""
        if self.name == "bernoulli":
            return torch.bernoulli(self.mean(outputs))
        if self.name == "categorical":
            return self._map_probabilities(outputs, _sample_levels)
        mean, log_scale = self._gaussian(outputs)
        x = mean + log_scale.exp().expand_as(mean) * torch.randn_like(mean)
        return x if self.name == "gaussian" else to_levels(x) / (LEVELS - 1)

    def _gaussian(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, C, H, W) before clipping, and log standard deviation, which broadcasts."""
        if self.name == "gaussian":
            return self.mean(outputs), self.log_scale
        mean, *offset = _per_value(outputs, self.outputs).unbind(-1)
        if not offset:
            return mean, self.log_scale
        above = F.softplus(self.log_scale + offset[0] - self.min_log_scale)
        return mean, self.min_log_scale + above

    def _head_inputs(self, outputs: Tensor, pixels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Inputs (N, Q, 8) of the head and its bias (Q, 256): Q = 1 if all values share one."""
        hidden = _per_value(outputs, FEATURES)
        if self.pixel_bias is None:
            return F.gelu(hidden).flatten(0, -2).unsqueeze(1), self.head.bias.unsqueeze(0)
        bias = self.pixel_bias if pixels is None else self.pixel_bias[pixels]
        return hidden.flatten(1, -2), bias

    def _moment(self, outputs: Tensor, power: int) -> Tensor:
        levels = torch.linspace(0, 1, LEVELS, device=outputs.device, dtype=outputs.dtype) ** power
        return self._map_probabilities(outputs, lambda p: p @ levels)

    def _map_probabilities(self, outputs: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply `function`, (…, 256) → (…), to the probabilities of the levels, part by part."""
        hidden, bias = self._head_inputs(outputs, None)
        parts = [
            function(_logits(rows, self.head.weight, bias).softmax(-1))
            for rows in hidden.split(_rows_at_once(hidden))
        ]
        batch, channels, *sides = outputs.shape
        return torch.cat(parts).view(batch, channels // FEATURES, *sides)


def categorical_nll(hidden: Tensor, weight: Tensor, bias: Tensor, level: Tensor) -> Tensor:
    """−log softmax(V h + b)[level], nats, (N, Q).

    `hidden` h (N, Q, F), `weight` V (256, F), `bias` b (Q, 256), `level` int64 (N, Q).
    """
    hidden, weight, bias = (at_least_single(t) for t in (hidden, weight, bias))
    return _CategoricalNLL.apply(hidden, weight, bias, level)


class _CategoricalNLL(torch.autograd.Function):
    """`categorical_nll` with the 256 logits of a few values in memory at a time.

    The backward pass computes the logits again and turns them into their gradient, p − 1[level].
    So n values need memory for n · F elements, not n · 256, and the logits stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, level: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, level)
        size, losses = _rows_at_once(hidden), []
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, k in zip(hidden.split(size), level.split(size), strict=True):
                logits = _logits(rows, weight, bias).flatten(0, 1)
                losses.append(F.cross_entropy(logits, k.flatten(), reduction="none").view_as(k))
        return torch.cat(losses)  # (N, Q)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, level = ctx.saved_tensors
        to_hidden, to_weight, to_bias = (torch.zeros_like(t) for t in (hidden, weight, bias))
        size = _rows_at_once(hidden)
        with torch.autocast(hidden.device.type, enabled=False):  # manual_backward runs inside one
            for start in range(0, len(hidden), size):
                part = slice(start, start + size)
                slope = _logits(hidden[part], weight, bias).softmax(-1)
                flat = slope.view(-1, LEVELS)
                flat[torch.arange(len(flat), device=flat.device), level[part].flatten()] -= 1
                slope *= grad[part].unsqueeze(-1)
                to_hidden[part] = slope @ weight
                to_weight.addmm_(flat.T, hidden[part].flatten(0, 1))
                to_bias += slope.sum(0)
        return to_hidden, to_weight, to_bias, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """V h + b: (N, Q, F) → (N, Q, 256)."""
    return F.linear(hidden, weight) + bias


def _sample_levels(probabilities: Tensor) -> Tensor:
    """Probabilities (N, Q, 256) → sampled values k / 255, (N, Q)."""
    level = torch.multinomial(probabilities.flatten(0, -2), 1).view(probabilities.shape[:-1])
    return level.to(probabilities.dtype) / (LEVELS - 1)


def _rows_at_once(hidden: Tensor) -> int:
    """Rows of `hidden` (N, Q, F) whose logits are in memory together."""
    values = VALUES_AT_ONCE if hidden.device.type == "cpu" else VALUES_AT_ONCE_GPU
    return max(1, values // hidden.shape[1])


def _per_value(outputs: Tensor, count: int) -> Tensor:
    """Outputs (B, C · F, H, W) → (B, C, H, W, F), F = `count`."""
    return outputs.unflatten(1, (-1, count)).movedim(2, -1)


def bits_per_dim(nll_nats: Tensor, dimensions: int) -> Tensor:
    """Nats per image → bits per value of the image: nats / (C·H·W · log 2)."""
    return nll_nats / (dimensions * math.log(2))


def _check(name: str, scale: Scale, min_scale: float, binary: bool) -> None:
    if name not in get_args(Likelihood):
        known = ", ".join(get_args(Likelihood))
        raise ValueError(f"likelihood is {name!r}: choose one of {known}")
    if scale is not None and "gaussian" not in name:
        raise ValueError(f"scale is {scale!r}, but a {name} likelihood has none: leave it null")
    if scale == "pixel" and name == "gaussian":
        raise ValueError(
            "scale is 'pixel' with likelihood gaussian: choose discretized_gaussian, or a number,"
            " or null to learn one for all pixels"
        )
    if scale not in (None, "pixel") and not (
        isinstance(scale, int | float) and 0 < scale < math.inf
    ):
        raise ValueError(
            f"scale is {scale!r}: a standard deviation is a finite number > 0, such as 0.1;"
            " null learns one for all pixels, 'pixel' one for each"
        )
    if not 0 < min_scale < math.inf:
        raise ValueError(f"min_scale is {min_scale}: a standard deviation must be finite and > 0")
    if binary and name != "bernoulli":
        raise ValueError(
            f"binary pixels with a {name} likelihood: set likelihood: bernoulli, or leave binarize"
            " out"
        )
