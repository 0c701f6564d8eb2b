"""Training of a sampler that is a neural network: in memory, and reproducible from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def check_settings(*, hidden: int, steps: int, batch_size: int, lr: float) -> None:
    """Raise ValueError unless all settings are > 0."""
    if min(hidden, steps, batch_size) < 1 or lr <= 0:
        raise ValueError(
            f"hidden {hidden}, steps {steps}, batch_size {batch_size} and lr {lr} must be > 0"
        )


@contextmanager
def training_mode(seed: int) -> Iterator[None]:
    """Enable gradients and seed the global generator; restore both states at the end."""
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def minimize(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    codes: Tensor,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    max_grad_norm: float | None = None,
) -> None:
    """Minimize `loss` of random batches of codes (N, D) by Adam; its rate decays linearly to 0.

    `max_grad_norm` clips the norm of the gradient of all parameters. Afterwards the parameters
    require no gradient.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for step in range(steps):
        batch = codes[torch.randint(len(codes), (batch_size,))]
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        loss(batch).backward()
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), max_grad_norm)
        optimizer.step()
    network.requires_grad_(False)
