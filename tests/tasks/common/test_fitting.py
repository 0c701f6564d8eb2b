"""The short training: it finds a known minimum, follows its seed and stops in time."""

import pytest
import torch
from torch import nn

from latentlab.tasks.common.fitting import fit, seeded


def test_fit_finds_least_squares_and_leaves_frozen_weights():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.7
    net = nn.Linear(3, 1)
    fit(net, lambda a, b: (net(a)[:, 0] - b).square().mean(), (x, y), steps=300, lr=5e-2)
    torch.testing.assert_close(net.weight[0], torch.tensor([1.0, -2.0, 0.5]), atol=1e-3, rtol=0)
    net.weight.requires_grad_(False)
    before = net.weight.clone()
    fit(net, lambda a, b: (net(a)[:, 0] - 2 * b).square().mean(), (x, y), steps=5)
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize(("limit", "expected"), [({}, 1000), ({"max_epochs": 7}, 14)])
def test_few_rows_get_all_steps_unless_epochs_are_limited(limit, expected):
    net, batches = nn.Linear(1, 1), []

    def loss(x):
        batches.append(len(x))
        return net(x).square().mean()

    fit(net, loss, (torch.ones(3, 1),), steps=1000, batch_size=2, **limit)
    assert batches == [2] * expected
    assert not net.training


def test_seeded_restores_the_state_of_the_global_generator():
    state = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), state)
