"""The gradient of a model's loss against that of a formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def assert_same_loss_and_gradients(model: nn.Module, loss: Tensor, expected: Tensor) -> None:
    """Assert that two losses and their gradients are equal, and that no gradient is 0."""
    torch.testing.assert_close(loss, expected)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients, references = (
        torch.autograd.grad(each, list(parameters.values()), allow_unused=True)
        for each in (loss, expected)
    )
    for name, gradient, reference in zip(parameters, gradients, references, strict=True):
        assert reference is not None, name
        assert reference.any(), name
        torch.testing.assert_close(gradient, reference, msg=lambda text, n=name: f"{n}: {text}")
