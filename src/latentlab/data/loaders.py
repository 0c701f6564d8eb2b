"""Whole batches of uint8 images, from memory or from disk: the same batches in the same order.

`MemoryLoader` gathers a batch by one copy of its rows, `StreamLoader` reads the rows from the
prepared folder, in threads that work ahead if there are any. Both take their order from an
`EpochOrder`, which they show as `.sampler`, because that is where Lightning calls `set_epoch`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Split
from latentlab.data.arrays import open_array
from latentlab.data.order import EpochOrder
from latentlab.data.prepared import read_labels, read_meta
from latentlab.data.rows import ImageRows

Batch = tuple[Tensor, Tensor]  # uint8 (B, C, H, W), int64 (B,): −1 where there are no labels


class MemoryLoader:
    """Batches of a split that lies in memory. Resumable: state_dict holds {epoch, position}."""

    batch_sampler = None  # as in a DataLoader whose sampler names whole batches; Lightning asks

    def __init__(self, split: Split, order: EpochOrder) -> None:
        self.sampler = order
        self._images = split.images.numpy()
        self._labels = None if split.labels is None else split.labels.numpy()

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: Lightning asks for the iterator before it says which epoch it wants.
        for index in self.sampler.remaining():
            self.sampler.count_up()
            # numpy's take copies rows in this thread. torch's index_select would share 100 kB among
            # all cores and wait for the slowest: 2 to 200 times longer when the machine is busy.
            yield _batch(self._images.take(index.numpy(), 0), self._labels, index)

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.sampler.load_state_dict(state_dict)


class StreamLoader:
    """The same batches in the same order, read from the prepared folder as they are needed.

    With `num_workers` threads, each reads one batch ahead and one more waits; 0 reads between the
    steps. Resident memory: these batches, and 16 bytes an image for order and labels. The position
    counts the batches used, not those read ahead.

    Raises:
        LatentlabError: no complete prepared folder; in a pass: its file changed meanwhile.
    """

    batch_sampler = None

    def __init__(self, folder: Path, split: str, order: EpochOrder, num_workers: int = 0) -> None:
        self.sampler = order
        self._split = _StreamedSplit(folder, split)
        self._num_workers = num_workers

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        indices = self.sampler.remaining()
        batches = self._ahead(indices) if self._num_workers else map(self._read, indices)
        for batch in batches:
            self.sampler.count_up()
            yield batch

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.sampler.load_state_dict(state_dict)

    def _read(self, index: Tensor) -> Batch:
        return _batch(self._split.read(index.numpy()), self._split.labels, index)

    def _ahead(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        pool = ThreadPoolExecutor(self._num_workers, "reader")
        reading: deque[Future[Batch]] = deque()
        try:
            for index in indices:
                reading.append(pool.submit(self._read, index))
                if len(reading) > self._num_workers + 1:
                    yield reading.popleft().result()
            while reading:
                yield reading.popleft().result()
        finally:  # also when the pass is abandoned
            pool.shutdown(cancel_futures=True)


class _StreamedSplit:
    """A split whose images stay in their file: `labels` int64 (N,) or None, and `read`."""

    def __init__(self, folder: Path, split: str) -> None:
        meta = read_meta(folder)
        labels = read_labels(folder, split, meta)
        self.labels = None if labels is None else labels.numpy()
        self._path = folder / f"{split}_images.npy"
        shape = (meta.counts[split], *meta.image_shape)
        file, offset = open_array(self._path, np.uint8, shape)
        with file:
            self._rows = ImageRows(file.fileno(), shape, offset)
        self._state = self._look()

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Images uint8 (len(rows), C, H, W).

        Raises:
            LatentlabError: the file was changed, cut or replaced since it was opened.
        """
        try:
            images = self._rows[rows]
            changed = self._look() != self._state  # afterwards, so that these rows are covered
        except OSError as error:
            raise self._altered(str(error)) from error
        if changed:
            raise self._altered("its size, time or place on the disk is another")
        return images

    def _look(self) -> tuple[int, int, bool]:
        now = os.fstat(self._rows.file)
        return now.st_size, now.st_mtime_ns, now.st_nlink > 0

    def _altered(self, what: str) -> LatentlabError:
        return LatentlabError(
            f"{self._path} changed while it was read ({what}). Leave the prepared folder alone "
            "during a training; run `dvc repro` again, which makes it anew if need be."
        )


def _batch(images: np.ndarray, labels: np.ndarray | None, index: Tensor) -> Batch:
    known = np.full(len(index), -1) if labels is None else labels.take(index.numpy())
    return torch.from_numpy(images), torch.from_numpy(known)
