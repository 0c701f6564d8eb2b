"""Fully connected networks: widths, initial weights, errors."""

import pytest
import torch
from torch import nn

from latentlab.networks.mlp import MLP, mlp, noisy_mlp


def widths_of(network):
    return [layer.out_features for layer in network if isinstance(layer, nn.Linear)]


def test_mlp_is_affine_without_hidden_layers_and_ends_without_activation():
    net = mlp([3, 4])
    x = torch.randn(5, 3)
    torch.testing.assert_close(net(x), x @ net[0].weight.T + net[0].bias)
    assert isinstance(mlp([3, 4, 2], activation="tanh")[-1], nn.Linear)
    with pytest.raises(ValueError, match="at least an input and an output"):
        mlp([3])


def test_too_few_sizes_and_unknown_activations_raise_an_error():
    with pytest.raises(ValueError, match="at least an input and an output"):
        noisy_mlp([3], noise=(0.1, 0.1))
    with pytest.raises(ValueError, match="unknown activation 'relo': choose one of gelu, relu"):
        mlp([3, 4], activation="relo")


@pytest.mark.parametrize(
    ("shape", "scaling", "expected"),
    [
        ((1, 28, 28), "none", [1000, 250]),
        ((1, 8, 8), "none", [1000, 250]),
        ((1, 28, 28), "linear", [1000, 250]),
        ((1, 8, 8), "linear", [82, 20]),  # times 64/784
        ((1, 28, 28), "sqrt", [1000, 250]),
        ((1, 8, 8), "sqrt", [286, 71]),  # times √(64/784) = 2/7
        ((3, 28, 28), "sqrt", [1732, 433]),  # times √3
    ],
)
def test_hidden_widths_follow_the_image_size_and_the_code_does_not(shape, scaling, expected):
    encoder, decoder = MLP([1000, 250], scaling=scaling).build(shape, 30)
    values = torch.Size(shape).numel()
    assert widths_of(encoder) == [*expected, 30]
    assert widths_of(decoder) == [*expected[::-1], values]
    x = torch.rand(2, *shape)
    assert decoder(encoder(x)).shape == x.shape


def test_encoder_and_decoder_have_several_outputs_for_each_latent_and_pixel():
    encoder, decoder = MLP([5]).build((3, 4, 4), 2, outputs_per_latent=2, outputs_per_pixel=8)
    assert encoder(torch.rand(7, 3, 4, 4)).shape == (7, 4)
    assert decoder(torch.randn(7, 2)).shape == (7, 24, 4, 4)


def test_lecun_initial_weights_keep_mean_0_and_variance_1_in_selu_layers():
    """A fixed point of the map of mean and variance: Klambauer et al. 2017, eq. 3."""
    torch.manual_seed(0)
    network = MLP([1000, 800, 600], activation="selu", init="lecun")
    encoder, decoder = network.build((1, 28, 28), 10)
    h = torch.randn(500, 784)
    for layer in encoder[1:-1]:
        h = layer(h).detach()
        if isinstance(layer, nn.SELU):
            assert abs(float(h.mean())) < 0.1
            assert float(h.var()) == pytest.approx(1, abs=0.15)
    biases = [layer.bias for layer in (*encoder, *decoder) if isinstance(layer, nn.Linear)]
    assert all(bool((bias == 0).all()) for bias in biases)
