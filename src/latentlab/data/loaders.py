"""Batches of uint8 images, from memory or from disk: the same batches in the same order.

`MemoryLoader` copies the images of a batch from memory. `StreamLoader` reads them from the prepared
folder, in threads that read ahead if `num_workers` > 0. Both have an `EpochBatchSampler` as
`.sampler`, because Lightning calls `set_epoch` there.
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

from latentlab.contracts import Split
from latentlab.data.arrays import open_array
from latentlab.data.batch_sampler import EpochBatchSampler
from latentlab.data.disk_array import DiskArray
from latentlab.data.prepared import read_labels, read_meta
from latentlab.utils.errors import LatentlabError

Batch = tuple[Tensor, Tensor]  # images uint8 (B, C, H, W), labels int64 (B,); −1 without labels


class MemoryLoader:
    """Batches of a split in memory. Resumable: state_dict contains {epoch, position}."""

    batch_sampler = None  # Lightning reads it; None: `sampler` yields whole batches

    def __init__(self, split: Split, sampler: EpochBatchSampler) -> None:
        self.sampler = sampler
        self._images = split.images.numpy()
        self._labels = None if split.labels is None else split.labels.numpy()

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # A generator, because Lightning creates the iterator before it calls set_epoch.
        for index in self.sampler.remaining():
            self.sampler.advance()
            # numpy's take copies in this thread. torch's index_select divides 100 kB among all
            # cores and waits for the slowest: 2 to 200 times longer on a busy machine.
            yield _batch(self._images.take(index.numpy(), 0), self._labels, index)

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.sampler.load_state_dict(state_dict)


class StreamLoader:
    """Batches that are read from the prepared folder when they are needed.

    With `num_workers` threads, `num_workers` + 1 batches are read ahead. With 0, a batch is read
    between two steps. Resident memory is these batches, and 16 bytes per image for order and
    labels. The position counts used batches, not batches read ahead.

    Raises:
        LatentlabError: the prepared folder is not complete, or a file changes during a loop.
    """

    batch_sampler = None

    def __init__(
        self, folder: Path, split: str, sampler: EpochBatchSampler, num_workers: int = 0
    ) -> None:
        self.sampler = sampler
        self._split = _StreamedSplit(folder, split)
        self._num_workers = num_workers

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        indices = self.sampler.remaining()
        batches = self._read_ahead(indices) if self._num_workers else map(self._read, indices)
        for batch in batches:
            self.sampler.advance()
            yield batch

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.sampler.load_state_dict(state_dict)

    def _read(self, index: Tensor) -> Batch:
        return _batch(self._split.read(index.numpy()), self._split.labels, index)

    def _read_ahead(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        pool = ThreadPoolExecutor(self._num_workers, "reader")
        reading: deque[Future[Batch]] = deque()
        try:
            for index in indices:
                reading.append(pool.submit(self._read, index))
                if len(reading) > self._num_workers + 1:
                    yield reading.popleft().result()
            while reading:
                yield reading.popleft().result()
        finally:  # also if the loop is left early
            pool.shutdown(cancel_futures=True)


class _StreamedSplit:
    """A split whose images stay in their file. `labels`: int64 (N,) or None."""

    def __init__(self, folder: Path, split: str) -> None:
        info = read_meta(folder)
        labels = read_labels(folder, split, info)
        self.labels = None if labels is None else labels.numpy()
        self._path = folder / f"{split}_images.npy"
        shape = (info.counts[split], *info.image_shape)
        file, offset = open_array(self._path, np.uint8, shape)
        with file:
            self._images = DiskArray(file.fileno(), shape, offset)
        self._state = self._file_state()

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the images `rows` (n,): uint8 (n, C, H, W).

        Raises:
            LatentlabError: the file was changed, truncated or replaced since it was opened.
        """
        try:
            images = self._images[rows]
            changed = self._file_state() != self._state  # after the read, so that it is included
        except OSError as error:
            raise self._changed(str(error)) from error
        if changed:
            raise self._changed("its size, time or inode changed")
        return images

    def _file_state(self) -> tuple[int, int, bool]:
        now = os.fstat(self._images.file)
        return now.st_size, now.st_mtime_ns, now.st_nlink > 0

    def _changed(self, reason: str) -> LatentlabError:
        return LatentlabError(
            f"{self._path} changed while it was read ({reason}). The prepared folder must not "
            "change during training. Run `dvc repro` again."
        )


def _batch(images: np.ndarray, labels: np.ndarray | None, index: Tensor) -> Batch:
    known = np.full(len(index), -1) if labels is None else labels.take(index.numpy())
    return torch.from_numpy(images), torch.from_numpy(known)
