"""Which images make which batch: an order that a seed fixes and a checkpoint can resume.

One epoch costs 8 bytes an image, its permutation; batches are cut from it as they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import LatentlabError


def epoch_batches(
    count: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    shuffle: bool = True,
    drop_last: bool = True,
    start: int = 0,
) -> Iterator[Tensor]:
    """The index batches, int64 (≤ batch_size / world_size,), of one process in one epoch.

    `batch_size` is the global batch: the processes share each one, process `rank` taking every
    world_size-th index, so that the images of a step do not depend on how many devices there are.
    The order depends on (seed, epoch) alone; `start` leaves out the first batches. In a short last
    batch, a process that would come away empty takes the batch's first image, so that all processes
    do equally many steps.

    Raises:
        LatentlabError: batch_size < 1, not divisible by world_size, or (with drop_last) > count.
    """
    stop = num_batches(count, batch_size, world_size=world_size, drop_last=drop_last)
    if shuffle:
        mixed = int(np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)[0])
        order = torch.randperm(count, generator=torch.Generator().manual_seed(mixed))
    else:
        order = torch.arange(count)
    batches = (order[at * batch_size : (at + 1) * batch_size] for at in range(start, stop))
    if world_size == 1:
        return batches
    return (batch[rank::world_size] if rank < len(batch) else batch[:1] for batch in batches)


def num_batches(count: int, batch_size: int, *, world_size: int = 1, drop_last: bool = True) -> int:
    """How many batches an epoch has; raises LatentlabError as `epoch_batches` does."""
    if batch_size < 1 or batch_size % world_size:
        raise LatentlabError(
            f"The global batch_size {batch_size} cannot be shared by {world_size} process(es); "
            f"choose a positive multiple of {world_size}."
        )
    if drop_last and batch_size > count:
        raise LatentlabError(
            f"batch_size {batch_size} is larger than the {count} images to train on; "
            f"choose at most {count} or add images."
        )
    return count // batch_size if drop_last else -(-count // batch_size)


class EpochOrder:
    """The batches of epoch after epoch, and where in them we are.

    `epoch` 0… names the current permutation; `position` is the number of batches already handed
    out. A plain second loop over a loader starts the next epoch once the last one was used up;
    Lightning says which epoch it wants by `set_epoch`.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        train: bool = True,
    ) -> None:
        """`train`: shuffled, whole batches only; otherwise in order, with the short last batch."""
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world_size, self.train = rank, world_size, train
        self.epoch = self.position = 0
        self._start = 0  # where the next pass begins: 0, unless a checkpoint said otherwise
        # checks the numbers now rather than at the first step
        self._length = num_batches(count, batch_size, world_size=world_size, drop_last=train)

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; a resumed position counts only within the epoch it was saved in."""
        if epoch != self.epoch:
            self.epoch, self.position, self._start = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass begin where the saved one was."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._start = self.position

    def remaining(self) -> Iterator[Tensor]:
        """Begin a pass: the index batches still to come in this epoch."""
        if self._start >= self._length:
            self.epoch, self._start = self.epoch + 1, 0
        self.position, self._start = self._start, 0
        return epoch_batches(
            self.count,
            self.batch_size,
            seed=self.seed,
            epoch=self.epoch,
            rank=self.rank,
            world_size=self.world_size,
            shuffle=self.train,
            drop_last=self.train,
            start=self.position,
        )

    def count_up(self) -> None:
        """One more batch was handed out. After the last one, the next pass is the next epoch's."""
        self.position += 1
        self._start = self.position if self.position == self._length else 0
