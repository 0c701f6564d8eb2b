"""Convolutional networks: shapes for all image sizes, errors, initial weights."""

import pytest
import torch
from torch import nn

from latentlab.networks.conv import Conv, Discriminator, Generator, PlainConv, init_dcgan, pyramid


@pytest.mark.parametrize(
    ("size", "expected"), [(8, (1, 4)), (28, (2, 7)), (32, (3, 4)), (64, (4, 4)), (48, (3, 6))]
)
def test_pyramid_halves_down_to_a_few_pixels(size, expected):
    levels, side = pyramid((1, size, size))
    assert (levels, side) == expected
    assert side * 2**levels == size


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 27, 27), (3, 32, 28), (1, 50, 50)])
def test_images_that_cannot_be_halved_raise_an_error(shape):
    with pytest.raises(ValueError, match=r"do not fit this network.*set data.size"):
        pyramid(shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32, 64])
def test_generator_and_discriminator_adapt_to_the_image(size, channels):
    shape = (channels, size, size)
    logits = Generator(shape, latent_dim=5, width=4)(torch.randn(2, 5))
    assert logits.shape == (2, *shape)
    assert Discriminator(shape, width=4)(logits).shape == (2,)


def test_generator_has_the_first_feature_map_of_the_paper():
    generator = Generator((3, 64, 64), latent_dim=100, width=128)
    assert generator.smallest == (4, 4, 1024)


def test_init_dcgan_has_the_standard_deviation_of_the_paper():
    torch.manual_seed(0)
    net = Generator((1, 32, 32), latent_dim=100, width=32).apply(init_dcgan)
    weights = torch.cat(
        [m.weight.detach().flatten() for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    )
    assert float(weights.std()) == pytest.approx(0.02, rel=0.05)
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)
    norm = nn.BatchNorm2d(4000).apply(init_dcgan)
    assert norm.weight.mean().item() == pytest.approx(1, abs=2e-3)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not norm.bias.any()


@pytest.mark.parametrize("network", [Conv(width=2), PlainConv(width=2), PlainConv(2, "resize")])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_encoder_and_decoder_of_a_config_have_the_shapes_of_the_image(network, size):
    encoder, decoder = network.build((3, size, size), 7, outputs_per_latent=2, outputs_per_pixel=4)
    assert encoder(torch.rand(2, 3, size, size)).shape == (2, 14)
    assert decoder(torch.randn(2, 7)).shape == (2, 12, size, size)


def test_only_conv_has_batch_normalization():
    def normalized(network):
        return any(
            isinstance(layer, nn.BatchNorm2d)
            for part in network.build((1, 8, 8), 3)
            for layer in part.modules()
        )

    assert normalized(Conv())
    assert not normalized(PlainConv())


def period_two_power(images):
    """Fraction of the variance at the highest frequency of rows or columns: checkerboards."""
    centred = images - images.mean((2, 3), keepdim=True)
    power = torch.fft.fft2(centred.double()).abs().square().mean((0, 1))
    half = len(power) // 2
    return float((power[half].sum() + power[:, half].sum() - power[half, half]) / power.sum())


def test_the_power_of_a_checkerboard_is_one_and_that_of_a_gradient_is_small():
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    assert period_two_power(((row + column) % 2)[None, None]) == pytest.approx(1)
    assert period_two_power((row % 2)[None, None]) == pytest.approx(1)
    assert period_two_power(torch.cos(2 * torch.pi * row / 16)[None, None]) < 1e-12


def test_resize_convolution_has_less_of_a_checkerboard_than_transposed_convolution():
    """Odena et al. 2016: the kernels of a transposed convolution overlap unevenly."""
    power = {}
    for upsample in ("transposed", "resize"):
        torch.manual_seed(0)
        images = []
        for _ in range(20):
            generator = Generator((3, 32, 32), latent_dim=16, width=8, upsample=upsample)
            generator.apply(init_dcgan)
            with torch.no_grad():
                images.append(generator(torch.randn(16, 16)))
        power[upsample] = period_two_power(torch.cat(images))
    assert power["resize"] < 0.2 * power["transposed"]


@pytest.mark.parametrize("upsample", ["transposed", "subpixel", "resize"])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_each_upsampling_gives_images_of_every_size(upsample, size):
    encoder, decoder = Conv(width=4, upsample=upsample).build((3, size, size), 5)
    assert decoder(encoder(torch.rand(2, 3, size, size))).shape == (2, 3, size, size)
