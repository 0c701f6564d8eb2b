"""Adam with linear decay: the learning rate of each step."""

from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule

from latentlab.optim.adam import adam_linear_decay


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
