"""Order of the images in batches: fixed by a seed, resumable from a checkpoint.

One epoch takes 8 bytes per image for its permutation. Batches are slices of the permutation and are
made when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted


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
    """Yield the batches of one process in one epoch: indices int64 (≤ batch_size / world_size,).

    `batch_size` is the global batch size. Process `rank` gets every world_size-th index of each
    global batch, so the images of a step do not depend on the number of devices. The order depends
    only on (seed, epoch). `start` is the number of batches to leave out. If the last global batch
    has too few images for all processes, a process without an image gets the first image of that
    batch, so that all processes do the same number of steps.

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
    """Return the number of batches in an epoch.

    Raises:
        LatentlabError: as `epoch_batches`.
    """
    if batch_size < 1 or batch_size % world_size:
        raise LatentlabError(
            f"The global batch_size {batch_size} cannot be divided among {world_size} process(es). "
            f"Choose a positive multiple of {world_size}."
        )
    if drop_last and batch_size > count:
        raise LatentlabError(
            f"batch_size {batch_size} is larger than the"
            f" {counted(count, 'training image')}. Choose at most {count}, or add images."
        )
    return count // batch_size if drop_last else -(-count // batch_size)


class EpochBatchSampler:
    """The batches of all epochs, with the current position.

    `epoch` 0… selects the permutation. `position` is the number of batches already used in it. A
    second loop over a loader starts the next epoch if the current epoch is complete. Lightning
    selects the epoch by `set_epoch`.
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
        """`train`: shuffled, without a short last batch; otherwise in order, with it."""
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world_size, self.train = rank, world_size, train
        self.epoch = self.position = 0
        self._start = 0  # first batch of the next loop; not 0 only after a resume
        # validates the arguments now instead of at the first step
        self._length = num_batches(count, batch_size, world_size=world_size, drop_last=train)

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch. A position from a checkpoint is valid only in its own epoch."""
        if epoch != self.epoch:
            self.epoch, self.position, self._start = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next loop at the saved position."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._start = self.position

    def remaining(self) -> Iterator[Tensor]:
        """Start a loop: yield the remaining batches of this epoch."""
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

    def advance(self) -> None:
        """Count one used batch. After the last batch, the next loop starts the next epoch."""
        self.position += 1
        self._start = self.position if self.position == self._length else 0
