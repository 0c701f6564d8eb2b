"""Batch statistics outside of training: those of torch's training mode, without an update."""

import pytest
import torch
from torch import nn

from latentlab.networks.batch_norm import batch_statistics


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(48))
    for _ in range(3):
        layers(torch.randn(8, 1, 6, 6))
    return layers.eval()


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_outputs_are_those_of_training_mode_and_no_statistics_change(network):
    x, before = 3 * torch.randn(5, 1, 6, 6) + 2, state(network)
    by_running = network(x)
    with batch_statistics(network, len(x)):
        got = network(x)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert network(x).equal(by_running), "the running statistics are used again"
    torch.testing.assert_close(got, network.train()(x))
    assert not torch.allclose(got, by_running)


def test_layers_in_training_mode_are_updated_as_ever(network):
    x, before = torch.randn(5, 1, 6, 6), state(network)
    network[1].train()
    with batch_statistics(network, len(x)):
        network(x)
    assert not network[1].running_mean.equal(before["1.running_mean"])
    assert network[3].running_mean.equal(before["3.running_mean"])


def test_one_image_is_normalized_by_the_running_statistics(network):
    x = torch.randn(1, 1, 6, 6)
    with batch_statistics(network, len(x)):
        got = network(x)
    assert got.equal(network(x))


def test_the_running_statistics_are_back_after_an_error(network):
    before = state(network)
    with pytest.raises(RuntimeError), batch_statistics(network, 2):
        network(torch.randn(2, 5, 6, 6))
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
