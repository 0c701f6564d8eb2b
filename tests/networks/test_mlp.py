"""Fully connected networks: widths, initial weights, errors."""

import pytest
import torch
from torch import nn

from latentlab.networks.conv import PlainConv
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


def test_a_centred_encoder_subtracts_the_mean_image():
    """The weights are those of an encoder that is not centred, with another bias."""
    torch.manual_seed(0)
    plain, _ = MLP(hidden=(6,)).build((1, 3, 3), 2)
    centred, _ = MLP(hidden=(6,), centered=True).build((1, 3, 3), 2)
    for ours, theirs in zip(centred.parameters(), plain.parameters(), strict=True):
        ours.data = theirs.data
    x, mean = torch.rand(5, 1, 3, 3), torch.rand(1, 3, 3)
    assert torch.equal(centred(x), plain(x)), "the mean is 0 before a training"
    centred[0].center_on(mean)
    assert torch.allclose(centred(x), plain(x - mean))


def test_the_learning_rate_follows_the_widths():
    mnist, cifar, digits = (1, 28, 28), (3, 32, 32), (1, 8, 8)
    assert MLP(scaling="linear").learning_rate(0.1, mnist) == 0.1
    assert MLP(scaling="linear").learning_rate(0.1, digits) == 0.1
    assert MLP(scaling="linear").learning_rate(0.1, cifar) == pytest.approx(
        0.1 * (784 / 3072) ** 0.5
    )
    assert MLP(scaling="none").learning_rate(0.1, cifar) == 0.1
    assert PlainConv().learning_rate(0.1, cifar) == 0.1


def test_one_step_of_adam_changes_an_activation_less_if_the_images_are_centred():
    """The reason for both: |Δ(w · x)| ≤ lr · Σ|x|, and it is reached where x > 0 and all agree."""
    torch.manual_seed(0)
    shape, lr = (3, 32, 32), 1e-3
    x = 0.5 + 0.1 * torch.randn(64, *shape).clamp(-4, 4)
    changes = {}
    for centred in (False, True):
        encoder, _ = MLP(hidden=(), centered=centred).build(shape, 1)
        if centred:
            encoder[0].center_on(x.mean(0))
        optimizer = torch.optim.Adam(encoder.parameters(), lr=lr)
        before = encoder(x)
        before.sum().backward()
        optimizer.step()
        changes[centred] = float((encoder(x) - before).detach().abs().mean())
    assert changes[False] == pytest.approx(lr * float(x.flatten(1).sum(1).mean()), rel=0.01)
    assert changes[True] < 0.1 * changes[False]
