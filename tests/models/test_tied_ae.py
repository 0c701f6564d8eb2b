"""Tied autoencoder: gradients, number of weights, copies."""

import copy

import pytest
import torch
from torch import nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.tied_ae import TiedAE
from latentlab.networks.mlp import MLP

SHAPE = (1, 6, 6)


def untied_copy(tied):
    """An equal function in plain torch, with separate weights in the decoder."""
    encoder = copy.deepcopy(tied.encoder)
    linears = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    biases = [layer.bias for layer in tied.decoder if hasattr(layer, "bias")]
    layers = []
    for linear, bias in zip(reversed(linears), biases, strict=True):
        own = nn.Linear(linear.out_features, linear.in_features).to(linear.weight)
        own.weight.data.copy_(linear.weight.T)
        own.bias.data.copy_(bias)
        layers += [own, nn.Tanh()]
    return encoder, nn.Sequential(*layers[:-1])


def test_tied_gradient_is_the_sum_of_the_untied_gradients():
    torch.manual_seed(0)
    tied = TiedAE(SHAPE, hidden=[12, 7], latent_dim=3, activation="tanh").double()
    for bias in (layer.bias for layer in tied.decoder if hasattr(layer, "bias")):
        nn.init.normal_(bias)
    encoder, decoder = untied_copy(tied)
    x = torch.rand(5, *SHAPE).double()
    loss = tied.training_step((x, None), 0)["loss"]
    loss.backward()
    x_hat = decoder(encoder(x.flatten(1))).sigmoid()
    expected = (x_hat - x.flatten(1)).square().sum() / 5
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    ups = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    downs = [layer for layer in decoder if isinstance(layer, nn.Linear)]
    mine = [layer for layer in tied.encoder if isinstance(layer, nn.Linear)]
    backs = [layer for layer in tied.decoder if hasattr(layer, "bias")]
    for own, up, down in zip(mine, ups, reversed(downs), strict=True):
        torch.testing.assert_close(own.weight.grad, up.weight.grad + down.weight.grad.T)
        torch.testing.assert_close(own.bias.grad, up.bias.grad)
    for own, down in zip(backs, downs, strict=True):
        torch.testing.assert_close(own.bias.grad, down.bias.grad)


def test_tying_halves_the_weights_and_leaves_the_biases():
    tied, untied = (
        TiedAE(SHAPE, hidden=[12], latent_dim=3),
        Autoencoder(SHAPE, network=MLP([12]), latent_dim=3),
    )
    count = lambda model, dim: sum(p.numel() for p in model.parameters() if p.ndim == dim)  # noqa: E731
    assert 2 * count(tied, 2) == count(untied, 2) == 2 * (36 * 12 + 12 * 3)
    assert count(tied, 1) == count(untied, 1) == 12 + 3 + 12 + 36
    saved = sum(tensor.numel() for tensor in tied.state_dict().values())
    assert saved == sum(p.numel() for p in tied.parameters()), "each weight is saved once"


@pytest.mark.parametrize(
    ("shape", "sizes"), [((1, 28, 28), [784, 300, 150]), ((1, 14, 28), [392, 150, 75])]
)
def test_default_widths_are_in_proportion_to_the_number_of_values(shape, sizes):
    model = TiedAE(shape)
    linears = [layer for layer in model.encoder if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linears] == sizes[:-1]
    assert [layer.out_features for layer in linears] == sizes[1:]
    assert model.latent_dim == sizes[-1]
    assert model.decode(torch.zeros(2, sizes[-1])).shape == (2, *shape)


def test_the_learning_rate_falls_with_the_size_of_large_images():
    models = [TiedAE(shape, hidden=[2], latent_dim=1) for shape in ((1, 28, 28), (3, 32, 32))]
    assert models[1].lr == pytest.approx(models[0].lr * (784 / 3072) ** 0.5)


def test_a_copy_of_a_tied_model_is_tied_to_itself():
    tied = TiedAE(SHAPE, hidden=[], latent_dim=5)
    tied_copy = copy.deepcopy(tied).double()
    with torch.no_grad():
        tied_copy.encoder[0].weight.zero_()
    z = torch.ones(1, 5)
    assert torch.equal(tied_copy.decoder(z.double()), torch.zeros(1, 36).double())
    assert torch.allclose(tied.decoder(z), tied.encoder[0].weight.sum(0)[None])


def test_unequal_layers_cannot_be_tied():
    message = "layers of the encoder in reverse, 5-12-36, got 5-10-36: choose equal hidden widths"
    with pytest.raises(ValueError, match=message):
        TiedAE(SHAPE, hidden=[12], latent_dim=5, decoder_hidden=[10])
    assert TiedAE(SHAPE, hidden=[12], latent_dim=5, decoder_hidden=[12]).latent_dim == 5
