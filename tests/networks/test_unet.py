"""U-Net: sizes of its feature maps, skip connections."""

import pytest
import torch

from latentlab.networks.unet import UNet, level_sizes


@pytest.mark.parametrize(
    ("size", "levels", "sides"),
    [
        ((14, 14), 2, [(14, 14), (7, 7)]),
        ((14, 14), 5, [(14, 14), (7, 7)]),
        ((4, 4), 3, [(4, 4)]),
        ((32, 16), 4, [(32, 16), (16, 8), (8, 4)]),
        ((16, 16), 2, [(16, 16), (8, 8)]),
    ],
)
def test_maps_are_halved_while_both_sides_are_even_and_at_least_8(size, levels, sides):
    assert level_sizes(*size, levels=levels) == sides
    net = UNet(2, 3, height=size[0], width=size[1], channels=[4] * levels)
    maps = net.down(torch.randn(2, 2, *size))
    assert [tuple(m.shape[2:]) for m in maps] == sides
    assert net.bottom == (4, *sides[-1])
    assert net.up(maps).shape == (2, 3, *size)


def test_skip_connections_depend_on_every_pixel():
    """Without the coarsest feature map, the output depends on every pixel of the input."""
    torch.manual_seed(0)
    net = UNet(1, 1, height=8, width=8, channels=[8, 8])
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    fine, coarse = net.eval().down(x)
    net.up([fine, torch.zeros_like(coarse)]).square().sum().backward()
    assert (x.grad != 0).all()


def test_every_parameter_is_used():
    net = UNet(1, 2, height=8, width=8, channels=[4, 6])
    net(torch.randn(2, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
