"""How a sampler that is a network learns: seeded, in memory, the same for the same codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def check_learning(*, hidden: int, steps: int, batch_size: int, lr: float) -> None:
    """Raises ValueError unless all are above 0."""
    if min(hidden, steps, batch_size) < 1 or lr <= 0:
        raise ValueError(
            f"hidden {hidden}, steps {steps}, batch_size {batch_size} and lr {lr} must be > 0"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Gradients on, and a global generator of its own, wherever the caller stands."""
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def learn(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    codes: Tensor,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    clip: float | None = None,
) -> None:
    """Minimise `loss` of random batches of codes (N, D) by Adam, its rate falling linearly to 0.

    `clip`: the greatest norm of all gradients together. The weights want no gradient afterwards.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for step in range(steps):
        batch = codes[torch.randint(len(codes), (batch_size,))]
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        loss(batch).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
    network.requires_grad_(False)
