"""Networks: shapes at every size they promise, refusals at the others, initial statistics."""

import pytest
import torch
from torch import nn

from latentlab.nets.conv import Discriminator, Generator, init_dcgan, pyramid
from latentlab.nets.mlp import mlp


@pytest.mark.parametrize(
    ("size", "expected"), [(8, (1, 4)), (28, (2, 7)), (32, (3, 4)), (64, (4, 4)), (48, (3, 6))]
)
def test_pyramid_halves_down_to_a_few_pixels(size, expected):
    levels, side = pyramid((1, size, size))
    assert (levels, side) == expected
    assert side * 2**levels == size


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 27, 27), (3, 32, 28), (1, 50, 50)])
def test_pyramid_refuses_what_it_cannot_halve(shape):
    with pytest.raises(ValueError, match=r"do not fit this network.*set data.size"):
        pyramid(shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32, 64])
def test_generator_and_discriminator_adapt_to_the_image(size, channels):
    shape = (channels, size, size)
    logits = Generator(shape, latent_dim=5, width=4)(torch.randn(2, 5))
    assert logits.shape == (2, *shape)
    assert Discriminator(shape, width=4)(logits).shape == (2,)


def test_paper_size_dcgan_has_the_papers_first_map():
    generator = Generator((3, 64, 64), latent_dim=100, width=128)
    assert generator.smallest == (4, 4, 1024)


def test_init_draws_weights_with_the_papers_spread():
    torch.manual_seed(0)
    net = Generator((1, 32, 32), latent_dim=100, width=32).apply(init_dcgan)
    weights = torch.cat(
        [m.weight.detach().flatten() for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    )
    assert float(weights.std()) == pytest.approx(0.02, rel=0.05)
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)


def test_mlp_is_affine_without_hidden_layers_and_ends_without_activation():
    net = mlp([3, 4])
    x = torch.randn(5, 3)
    torch.testing.assert_close(net(x), x @ net[0].weight.T + net[0].bias)
    assert isinstance(mlp([3, 4, 2], activation="tanh")[-1], nn.Linear)
    with pytest.raises(ValueError, match="at least an input and an output"):
        mlp([3])
