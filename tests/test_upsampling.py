"""Three ways to double the sides: what they compute, and that the first two are one."""

import pytest
import torch
import torch.nn.functional as F

from latentlab.nets.upsampling import UPSAMPLINGS, polyphase, subpixel_weight, upsampling


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 7)])
def test_transposed_convolution_is_four_small_ones_interleaved(height, width):
    x, weight, bias = numbers(2, 3, height, width), numbers(3, 5, 4, 4), numbers(5)
    expected = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    torch.testing.assert_close(polyphase(x, weight, bias), expected, rtol=1e-13, atol=1e-13)


def test_polyphase_has_the_gradient_of_the_transposed_convolution():
    x, weight = numbers(2, 3, 4, 4).requires_grad_(), numbers(3, 2, 4, 4).requires_grad_()
    direction = numbers(2, 2, 8, 8)
    got = torch.autograd.grad((polyphase(x, weight) * direction).sum(), (x, weight))
    expected = F.conv_transpose2d(x, weight, stride=2, padding=1)
    wanted = torch.autograd.grad((expected * direction).sum(), (x, weight))
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_polyphase_by_hand():
    """One pixel of 1 stamps the middle 2×2 of the kernel: padding 1 cuts its rim off."""
    weight = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    y = polyphase(torch.ones(1, 1, 1, 1, dtype=torch.float64), weight)
    assert y[0, 0].tolist() == [[5, 6], [9, 10]]


def test_subpixel_convolution_with_the_right_weights_is_the_transposed_one():
    torch.manual_seed(0)
    transposed = upsampling("transposed", 3, 5).double()
    subpixel = upsampling("subpixel", 3, 5).double()
    with torch.no_grad():
        subpixel[0].weight.copy_(subpixel_weight(transposed.weight))
        subpixel[0].bias.copy_(transposed.bias.repeat_interleave(4))
    x = numbers(2, 3, 6, 5)
    torch.testing.assert_close(subpixel(x), transposed(x), rtol=1e-12, atol=1e-12)


def test_resizing_first_is_a_transposed_convolution_with_a_blurred_kernel():
    """Repeating pixels, then a 3×3 kernel k, stamps k convolved with a 2×2 box: 4×4."""
    resize = upsampling("resize", 1, 1).double()
    kernel = resize[1].weight.detach()
    stamped = F.conv_transpose2d(kernel.flip(2, 3), torch.ones(1, 1, 2, 2, dtype=torch.float64))
    x = numbers(2, 1, 6, 6)
    expected = F.conv_transpose2d(x, stamped, resize[1].bias, stride=2, padding=1)
    torch.testing.assert_close(resize(x), expected)


@pytest.mark.parametrize("kind", UPSAMPLINGS)
def test_each_doubles_the_sides(kind):
    assert upsampling(kind, 6, 4)(torch.randn(2, 6, 3, 5)).shape == (2, 4, 6, 10)


def test_an_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="'bicubic': choose one of transposed, subpixel, resize"):
        upsampling("bicubic", 1, 1)
