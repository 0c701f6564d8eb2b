"""Three ways to double an image's sides with learned weights, and how the first two are one.

transposed   each pixel stamps a 4×4 kernel, two pixels apart (Zeiler et al. 2010)
subpixel     a convolution makes four channels per channel, which interleave (Shi et al. 2016)
resize       each pixel becomes 2×2, then a convolution (Odena et al. 2016)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

UPSAMPLINGS = ("transposed", "subpixel", "resize")

# Output row 2m of a transposed convolution (4×4, stride 2, padding 1) is w₃ x[m−1] + w₁ x[m];
# row 2m + 1 is w₂ x[m] + w₀ x[m+1]. The same holds for columns.
TAPS = ((3, 1), (2, 0))
PADDING = ((1, 0), (0, 1))  # rows before and after


def upsampling(kind: str, fan_in: int, fan_out: int) -> nn.Module:
    """(B, fan_in, h, w) → (B, fan_out, 2h, 2w). Raises ValueError for an unknown `kind`."""
    if kind == "transposed":
        return nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1)
    if kind == "subpixel":
        return nn.Sequential(nn.Conv2d(fan_in, 4 * fan_out, 3, padding=1), nn.PixelShuffle(2))
    if kind == "resize":
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(fan_in, fan_out, 3, padding=1))
    raise ValueError(f"unknown upsampling {kind!r}: choose one of {', '.join(UPSAMPLINGS)}")


def polyphase(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.conv_transpose2d(x, weight, bias, stride=2, padding=1) as four small convolutions.

    A 4×4 kernel (fan_in, fan_out, 4, 4) holds four sub-kernels of 2×2; each makes every second row
    and column of the output, and no multiplication with an inserted zero is done. Dumoulin & Visin
    2016, "A guide to convolution arithmetic for deep learning", chapter 4, for the arithmetic.
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
    """The 3×3 kernel (4 · fan_out, fan_in, 3, 3) that makes `subpixel` equal to `transposed`.

    Each sub-kernel of 2×2 sits in one corner of its 3×3: so `subpixel` is the larger family. The
    bias is repeated four times. Shi et al. 2016, "Is the deconvolution layer the same as a
    convolutional layer?".
    """
    fan_in, fan_out = weight.shape[:2]
    kernel = weight.new_zeros(fan_out, 2, 2, fan_in, 3, 3)
    for row in (0, 1):
        for column in (0, 1):
            sub = weight[:, :, TAPS[row]][:, :, :, TAPS[column]].transpose(0, 1)
            kernel[:, row, column, :, row : row + 2, column : column + 2] = sub
    return kernel.flatten(0, 2)
