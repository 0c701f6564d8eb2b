"""Layers that double the sides: what they compute, and when they are equal."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from latentlab.networks.upsampling import Upsampling, polyphase, subpixel_weight, upsampling


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 7)])
def test_polyphase_equals_the_transposed_convolution(height, width):
    x, weight, bias = normal(2, 3, height, width), normal(3, 5, 4, 4), normal(5)
    expected = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    torch.testing.assert_close(polyphase(x, weight, bias), expected, rtol=1e-13, atol=1e-13)


def test_polyphase_has_the_gradient_of_the_transposed_convolution():
    x, weight = normal(2, 3, 4, 4).requires_grad_(), normal(3, 2, 4, 4).requires_grad_()
    direction = normal(2, 2, 8, 8)
    got = torch.autograd.grad((polyphase(x, weight) * direction).sum(), (x, weight))
    expected = F.conv_transpose2d(x, weight, stride=2, padding=1)
    wanted = torch.autograd.grad((expected * direction).sum(), (x, weight))
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_polyphase_by_hand():
    """One pixel of value 1 gives the middle 2×2 of the kernel: padding removes its rim."""
    weight = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    y = polyphase(torch.ones(1, 1, 1, 1, dtype=torch.float64), weight)
    assert y[0, 0].tolist() == [[5, 6], [9, 10]]


def test_subpixel_convolution_with_subpixel_weight_equals_the_transposed_one():
    torch.manual_seed(0)
    transposed = upsampling("transposed", 3, 5).double()
    subpixel = upsampling("subpixel", 3, 5).double()
    with torch.no_grad():
        subpixel[0].weight.copy_(subpixel_weight(transposed.weight))
        subpixel[0].bias.copy_(transposed.bias.repeat_interleave(4))
    x = normal(2, 3, 6, 5)
    torch.testing.assert_close(subpixel(x), transposed(x), rtol=1e-12, atol=1e-12)


def test_resize_equals_a_transposed_convolution_with_a_blurred_kernel():
    """Repetition, then a 3×3 kernel k: the 4×4 kernel is k convolved with a 2×2 box."""
    resize = upsampling("resize", 1, 1).double()
    kernel = resize[1].weight.detach()
    blurred = F.conv_transpose2d(kernel.flip(2, 3), torch.ones(1, 1, 2, 2, dtype=torch.float64))
    x = normal(2, 1, 6, 6)
    expected = F.conv_transpose2d(x, blurred, resize[1].bias, stride=2, padding=1)
    torch.testing.assert_close(resize(x), expected)


@pytest.mark.parametrize("name", get_args(Upsampling))
def test_each_doubles_the_sides(name):
    assert upsampling(name, 6, 4)(torch.randn(2, 6, 3, 5)).shape == (2, 4, 6, 10)


def test_an_unknown_upsampling_raises_an_error():
    with pytest.raises(ValueError, match="'bicubic': choose one of transposed, subpixel, resize"):
        upsampling("bicubic", 1, 1)
