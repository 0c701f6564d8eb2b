"""Adam against torch's, bit for bit; with linear decay, the learning rate of each step."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule

from latentlab.optim.adam import FusedAdam, adam, adam_linear_decay


def test_the_rate_falls_linearly_from_lr_to_0_over_all_steps():
    model = LightningModule()
    model.layer = torch.nn.Linear(2, 2)
    model._trainer = SimpleNamespace(estimated_stepping_batches=4)
    configured = adam_linear_decay(model, lr=0.1, betas=(0.9, 0.99))
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    assert schedule["interval"] == "step"
    assert optimizer.defaults["betas"] == (0.9, 0.99)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025, 0, 0])


def _layers(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 300), torch.nn.ReLU(), torch.nn.Linear(300, 3))


def _pair():
    """The same network twice, with the optimizer of torch and of latentlab, in two groups."""
    networks = _layers(0), _layers(0)
    groups = [
        [{"params": n[0].parameters(), "weight_decay": 0.1}, {"params": n[2].parameters()}]
        for n in networks
    ]
    theirs = torch.optim.Adam(groups[0], lr=1e-2, betas=(0.5, 0.99), fused=True)
    return networks, (theirs, adam(groups[1], 1e-2, betas=(0.5, 0.99)))


def _step(network, optimizer, step, *, skip=False):
    def closure():
        optimizer.zero_grad()
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        loss = network(x).square().sum()
        loss.backward()
        if skip:
            network[2].bias.grad = None
        return loss.detach()

    return optimizer.step(closure)


def _assert_equal(networks, optimizers):
    for ours, theirs in zip(networks[1].parameters(), networks[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    for number, state in states[0].items():
        assert all(torch.equal(value, states[1][number][name]) for name, value in state.items())


def test_steps_are_bit_for_bit_those_of_torch():
    networks, optimizers = _pair()
    for step in range(12):
        losses = []
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.param_groups[1]["lr"] = 1e-2 / (1 + step)
            for group in optimizer.param_groups:
                group["fused"] = step != 8
            losses.append(_step(network, optimizer, step, skip=step == 4))
        assert torch.equal(*losses)
        _assert_equal(networks, optimizers)
    assert optimizers[1]._kept is not None


def test_a_loaded_state_is_the_one_that_is_updated():
    networks, optimizers = _pair()
    for step in range(3):
        _step(networks[0], optimizers[0], step)
        _step(networks[1], optimizers[1], 99)  # other gradients
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers[1].load_state_dict(deepcopy(optimizers[0].state_dict()))
    for step in range(3, 6):
        for network, optimizer in zip(networks, optimizers, strict=True):
            _step(network, optimizer, step)
    _assert_equal(networks, optimizers)


def test_a_group_that_is_added_is_updated():
    old, new = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizer = adam([old], 0.1)
    for step in range(4):
        if step == 2:
            optimizer.add_param_group({"params": [new]})
        old.grad, new.grad = torch.ones(3), torch.ones(3)
        optimizer.step()
    torch.testing.assert_close(old.detach(), torch.full((3,), -0.4))
    torch.testing.assert_close(new.detach(), torch.full((3,), -0.2))


def test_parameters_of_two_types_are_left_to_torch():
    both = [torch.nn.Parameter(torch.ones(2, dtype=d)) for d in (torch.float32, torch.float64)]
    optimizer = FusedAdam(both, lr=0.1, betas=(0.9, 0.999))
    for _ in range(2):
        for parameter in both:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert optimizer._kept is None
    torch.testing.assert_close(both[0], both[1].float())


@pytest.mark.parametrize("first", [FusedAdam, torch.optim.Adam])
def test_hooks_run_once_a_step(first):
    weight = torch.nn.Parameter(torch.ones(2))
    first([weight], lr=0.1, betas=(0.9, 0.999))  # torch wraps the step of a class at the first use
    optimizer, calls = adam([weight], 0.1), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    for _ in range(3):
        weight.grad = torch.ones(2)
        optimizer.step()
    assert calls == ["before", "after"] * 3


@pytest.mark.parametrize("overflow", [0.0, 1.0])
def test_a_step_with_a_gradient_scaler_is_that_of_torch(overflow):
    networks, optimizers = _pair()
    for step in range(4):
        for network, optimizer in zip(networks, optimizers, strict=True):
            if step == 2:  # as torch.amp.GradScaler does for one step
                optimizer.grad_scale, optimizer.found_inf = (
                    torch.tensor(4.0),
                    torch.tensor(overflow),
                )
            _step(network, optimizer, step)
            optimizer.grad_scale = optimizer.found_inf = None
    _assert_equal(networks, optimizers)
