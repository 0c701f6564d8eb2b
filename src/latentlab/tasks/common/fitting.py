"""Short trainings of small networks: seeded, in memory, without checkpoints or tracking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from latentlab.optim.adam import adam, linear_decay


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block. Restore its state at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def fit(
    module: nn.Module,
    loss: Callable[..., Tensor],
    data: tuple[Tensor, ...],
    *,
    steps: int,
    max_epochs: int | None = None,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
) -> None:
    """Minimize loss(*batch) by Adam. The learning rate falls linearly from `lr` to 0.

    `data`: tensors with the same first dimension N. A batch has min(batch_size, N) rows of each,
    and the rows are shuffled anew in each epoch. With `max_epochs`, few rows get fewer steps than
    `steps`: networks that are compared then train unequally long. Only parameters of `module` that
    require gradients are trained. `module` is in eval mode at the end. Sets torch's global seed:
    use `seeded` around it to restore the state.
    """
    if max_epochs is not None:
        steps = min(steps, max_epochs * -(-len(data[0]) // batch_size))
    torch.manual_seed(seed)  # for dropout and noise in the loss
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
