"""Whole batches of uint8 images, in an order that a seed fixes and a checkpoint can resume.

`MemoryLoader` gathers a batch by one copy of its rows, `StreamLoader` lets worker processes read
the same batches from disk. Both take their order from an `EpochOrder`, which they show as
`.sampler`, because that is where Lightning calls `set_epoch`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from latentlab.contracts import LatentlabError, Split
from latentlab.data.prepared import read_split

Batch = tuple[Tensor, Tensor]  # uint8 (B, C, H, W), int64 (B,): −1 where there are no labels


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
) -> list[Tensor]:
    """The index batches, int64 (≤ batch_size / world_size,), of one process in one epoch.

    `batch_size` is the global batch: the processes share each one, process `rank` taking every
    world_size-th index, so that the images of a step do not depend on how many devices there are.
    The order depends on (seed, epoch) alone. In a short last batch, a process that would come away
    empty takes the batch's first image, so that all processes do equally many steps.

    Raises:
        LatentlabError: batch_size < 1, not divisible by world_size, or (with drop_last) > count.
    """
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
    order = torch.arange(count)
    if shuffle:
        mixed = int(np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)[0])
        order = torch.randperm(count, generator=torch.Generator().manual_seed(mixed))
    batches = order[: count - count % batch_size if drop_last else count].split(batch_size)
    if world_size == 1:
        return list(batches)
    return [batch[rank::world_size] if rank < len(batch) else batch[:1] for batch in batches]


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
        self._length = len(self._batches())  # checks the numbers now rather than at the first step

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

    def remaining(self) -> list[Tensor]:
        """Begin a pass: the index batches still to come in this epoch."""
        if self._start >= self._length:
            self.epoch, self._start = self.epoch + 1, 0
        self.position, self._start = self._start, 0
        return self._batches()[self.position :]

    def count_up(self) -> None:
        """One more batch was handed out. After the last one, the next pass is the next epoch's."""
        self.position += 1
        self._start = self.position if self.position == self._length else 0

    def _batches(self) -> list[Tensor]:
        return epoch_batches(
            self.count,
            self.batch_size,
            seed=self.seed,
            epoch=self.epoch,
            rank=self.rank,
            world_size=self.world_size,
            shuffle=self.train,
            drop_last=self.train,
        )


class MemoryLoader:
    """Batches of a split that lies in memory. Resumable: state_dict holds {epoch, position}."""

    batch_sampler = None  # as in a DataLoader whose sampler names whole batches; Lightning asks

    def __init__(self, split: Split, order: EpochOrder) -> None:
        self.sampler = order
        self._rows = _Rows(split)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: Lightning asks for the iterator before it says which epoch it wants.
        for index in self.sampler.remaining():
            self.sampler.count_up()
            yield self._rows[index]

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.sampler.load_state_dict(state_dict)


class StreamLoader:
    """The same batches in the same order, read from the prepared folder by `num_workers` processes.

    It wraps a DataLoader rather than being one, for two reasons: Lightning would swap the sampler
    of a DataLoader under DDP, and the position must count the batches used, not those read ahead.
    """

    batch_sampler = None

    def __init__(self, folder: Path, split: str, order: EpochOrder, num_workers: int = 0) -> None:
        self.sampler = order
        self._pending: list[Tensor] = []
        self._loader = DataLoader(
            _MappedRows(folder, split),
            batch_size=None,
            sampler=_Pending(self._pending),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            # Else every pass would draw the workers' seed from the global stream of random numbers
            # and training would differ from training with MemoryLoader.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        self._pending[:] = self.sampler.remaining()
        for batch in self._loader:
            self.sampler.count_up()
            yield batch

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.sampler.load_state_dict(state_dict)


class _Rows(Dataset[Batch]):
    """A split as a map from an index batch to the whole batch."""

    def __init__(self, split: Split) -> None:
        unknown = torch.full((len(split.images),), -1)
        self.images = split.images.numpy()
        self.labels = (unknown if split.labels is None else split.labels).numpy()

    def __getitem__(self, index: Tensor) -> Batch:
        # numpy's take copies rows in this thread. torch's index_select would share 100 kB among all
        # cores and wait for the slowest: 2 to 200 times longer when the machine is busy.
        rows = index.numpy()
        return torch.from_numpy(self.images.take(rows, 0)), torch.from_numpy(self.labels.take(rows))


class _MappedRows(Dataset[Batch]):
    """`_Rows` over the memory map; each worker opens it itself, for a pickled map is a copy."""

    def __init__(self, folder: Path, split: str) -> None:
        self._place = (folder, split)
        self._rows: _Rows | None = None

    def __getitem__(self, index: Tensor) -> Batch:
        if self._rows is None:
            self._rows = _Rows(read_split(*self._place, mmap=True))
        return self._rows[index]


class _Pending:
    """A sampler over a list that its owner refills before each pass."""

    def __init__(self, batches: list[Tensor]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        return iter(list(self._batches))

    def __len__(self) -> int:
        return len(self._batches)


def fits_memory(num_bytes: int) -> bool:
    """Whether that much is less than a quarter of the machine's memory."""
    try:
        return 4 * num_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # no sysconf here (Windows): streaming always works
        return False
