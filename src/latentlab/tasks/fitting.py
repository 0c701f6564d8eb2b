"""A small training loop for tasks that train many little models: seeded, in memory, no tracking."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from latentlab.optimizers import adam, linear_decay


def fit(
    module: nn.Module,
    loss: Callable[..., Tensor],
    data: tuple[Tensor, ...],
    *,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
) -> None:
    """Minimise loss(*batch) by Adam whose rate falls linearly to 0; batches are whole shuffles.

    `data` are tensors with the same first dimension N; a batch is min(batch_size, N) rows of each.
    Trains the parameters of `module` that require gradients, and leaves it in eval mode.
    """
    torch.manual_seed(seed)  # dropout and noise; the caller forks the generator if it matters
    generator = torch.Generator().manual_seed(seed)
    optimizer = adam([p for p in module.parameters() if p.requires_grad], lr)
    schedule = linear_decay(optimizer, steps)
    size = min(batch_size, len(data[0]))
    order = torch.empty(0, dtype=torch.int64)
    module.train()
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(len(data[0]), generator=generator)
        rows, order = order[:size], order[size:]
        optimizer.zero_grad()
        loss(*(tensor[rows] for tensor in data)).backward()
        optimizer.step()
        schedule.step()
    module.eval()
