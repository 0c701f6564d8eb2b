"""Training of a sampler's network: Adam with a decaying rate and clipping, as a plain loop."""

import pytest
import torch
from torch import nn

from latentlab.samplers.training import check_settings, minimize, training_mode

CODES = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))


def loss(network):
    return lambda codes: (10 * network(codes) - codes.sum(1, keepdim=True)).square().mean()


def by_hand(network, *, steps, batch_size, lr, max_norm):
    """Adam (Kingma & Ba 2015, algorithm 1) with a rate that decays linearly to 0."""
    mean = {p: torch.zeros_like(p) for p in network.parameters()}
    square = {p: torch.zeros_like(p) for p in network.parameters()}
    for step in range(1, steps + 1):
        batch = CODES[torch.randint(20, (batch_size,))]
        grads = torch.autograd.grad(loss(network)(batch), list(mean))
        norm = torch.cat([g.flatten() for g in grads]).norm()
        factor = 1.0 if max_norm is None else min(1.0, max_norm / float(norm))
        for p, g in zip(mean, grads, strict=True):
            mean[p] = 0.9 * mean[p] + 0.1 * factor * g
            square[p] = 0.999 * square[p] + 0.001 * (factor * g).square()
            m, s = mean[p] / (1 - 0.9**step), square[p] / (1 - 0.999**step)
            p.data -= lr * (1 - (step - 1) / steps) * m / (s.sqrt() + 1e-8)


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_minimize_is_adam_with_a_linear_decay_and_clipped_gradients(max_norm):
    """The rate of Adam hides a constant factor of all gradients, not one that changes by step."""
    networks = []
    for train in (minimize, by_hand):
        torch.manual_seed(0)
        network = nn.Linear(3, 1)
        settings = {"steps": 7, "batch_size": 4, "lr": 0.1}
        if train is minimize:
            minimize(network, loss(network), CODES, max_grad_norm=max_norm, **settings)
            assert not any(p.requires_grad for p in network.parameters())
        else:
            by_hand(network, max_norm=max_norm, **settings)
        networks.append(network)
    torch.testing.assert_close(*(network.weight.detach() for network in networks))
    torch.testing.assert_close(*(network.bias.detach() for network in networks))


def test_training_mode_has_gradients_and_its_own_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with torch.inference_mode(), training_mode(5):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        first = torch.rand(2)
    with torch.no_grad(), training_mode(5):
        assert torch.is_grad_enabled()
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"steps": 0}, {"batch_size": 0}, {"lr": 0.0}])
def test_settings_below_their_least_value_are_errors(wrong):
    least = {"hidden": 1, "steps": 1, "batch_size": 1, "lr": 1e-9}
    check_settings(**least)
    with pytest.raises(ValueError, match="must be > 0"):
        check_settings(**{**least, **wrong})
