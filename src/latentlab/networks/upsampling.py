"""Layers that double the sides of an image, with learned weights.

transposed   transposed convolution, 4×4, stride 2 (Zeiler et al. 2010)
subpixel     convolution with four times the channels, then pixel shuffle (Shi et al. 2016)
resize       nearest-neighbour interpolation, then convolution (Odena et al. 2016)

`polyphase` and `subpixel_weight` show that "transposed" is a special case of "subpixel".
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

Upsampling = Literal["transposed", "subpixel", "resize"]

# Output row 2m of a transposed convolution (4×4, stride 2, padding 1) is w₃ x[m−1] + w₁ x[m];
# row 2m + 1 is w₂ x[m] + w₀ x[m+1]. The same holds for columns.
TAPS = ((3, 1), (2, 0))
PADDING = ((1, 0), (0, 1))  # rows before and after


def upsampling(name: Upsampling, fan_in: int, fan_out: int, *, bias: bool = True) -> nn.Module:
    """(B, fan_in, h, w) → (B, fan_out, 2h, 2w). Raises ValueError for an unknown name."""
    if name == "transposed":
        return nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=bias)
    if name == "subpixel":
        conv = nn.Conv2d(fan_in, 4 * fan_out, 3, padding=1, bias=bias)
        return nn.Sequential(conv, nn.PixelShuffle(2))
    if name == "resize":
        conv = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=bias)
        return nn.Sequential(nn.Upsample(scale_factor=2), conv)
    raise ValueError(
        f"unknown upsampling {name!r}: choose one of {', '.join(get_args(Upsampling))}"
    )


def polyphase(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.conv_transpose2d(x, weight, bias, stride=2, padding=1) as four small convolutions.

    A 4×4 kernel (fan_in, fan_out, 4, 4) holds four sub-kernels of 2×2. Each computes every second
    row and column of the output, without multiplications by inserted zeros. Source: Dumoulin &
    Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4.
    """
    batch, _, height, width = x.shape
    y = x.new_empty(batch, weight.shape[1], 2 * height, 2 * width)
    for row in (0, 1):
        for column in (0, 1):
            kernel = weight[:, :, TAPS[row]][:, :, :, TAPS[column]].transpose(0, 1)
            padded = F.pad(x, (*PADDING[column], *PADDING[row]))
            y[:, :, row::2, column::2] = F.conv2d(padded, kernel, bias)
    return y


def subpixel_weight(weight: Tensor) -> Tensor:
    """Return the 3×3 kernel (4 · fan_out, fan_in, 3, 3) that makes "subpixel" equal "transposed".

    Each 2×2 sub-kernel fills one corner of a 3×3 kernel, so "subpixel" has more free weights. The
    bias is repeated four times. Source: Shi et al. 2016, "Is the deconvolution layer the same as a
    convolutional layer?".
    """
    fan_in, fan_out = weight.shape[:2]
    kernel = weight.new_zeros(fan_out, 2, 2, fan_in, 3, 3)
    for row in (0, 1):
        for column in (0, 1):
            sub = weight[:, :, TAPS[row]][:, :, :, TAPS[column]].transpose(0, 1)
            kernel[:, row, column, :, row : row + 2, column : column + 2] = sub
    return kernel.flatten(0, 2)
