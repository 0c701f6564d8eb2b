"""Networks of StyleGAN against the definitions that their fast forms replace."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentlab.networks.stylegan import Mapping, ModulatedConv, append_stddev


def test_modulation_equals_a_convolution_with_own_weights_for_each_image():
    """Karras et al. 2020, eq. 1 and 3, written out for one image at a time."""
    torch.manual_seed(0)
    conv = ModulatedConv(3, 5, style_dim=4).double()
    x, w = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 4).double()
    for image, style, got in zip(x, conv.style(w), conv(x, w), strict=True):
        weights = conv.weight * style[None, :, None, None]
        weights = weights / (weights.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        torch.testing.assert_close(got, F.conv2d(image[None], weights, padding=1)[0])


def test_demodulation_gives_unit_variance_for_every_style():
    torch.manual_seed(0)
    conv = ModulatedConv(8, 6, style_dim=4)
    y = conv(torch.randn(400, 8, 12, 12), (10 * torch.randn(1, 4)).expand(400, -1))
    std = y[:, :, 2:-2, 2:-2].std((0, 2, 3))
    torch.testing.assert_close(std, torch.ones(6), atol=0.02, rtol=0)


def test_the_layers_of_the_mapping_get_codes_of_mean_square_1():
    torch.manual_seed(0)
    mapping, z = Mapping(6), 5 * torch.randn(4, 6)
    unit = z / z.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(mapping(z), mapping.layers(unit))


def test_the_mapping_uses_only_the_direction_of_a_code():
    z = torch.randn(3, 6)
    mapping = Mapping(6)
    torch.testing.assert_close(mapping(z), mapping(5 * z), atol=1e-4, rtol=1e-4)


def test_append_stddev_is_the_standard_deviation_of_each_group():
    h = torch.randn(8, 3, 2, 2)
    got = append_stddev(h, group=4)
    assert got.shape == (8, 4, 2, 2)
    torch.testing.assert_close(got[:, :3], h)
    for image in range(8):
        group = h[image % 2 :: 2].numpy()  # images of one group stand 8 / 4 = 2 apart
        expected = np.sqrt(group.var(0) + 1e-8).mean()
        assert got[image, 3].numpy() == pytest.approx(expected, rel=1e-5)
    assert float(append_stddev(torch.ones(4, 3, 2, 2))[:, 3].max()) < 1e-3, "equal images"
    assert append_stddev(torch.randn(5, 3, 2, 2)).shape == (5, 4, 2, 2)
