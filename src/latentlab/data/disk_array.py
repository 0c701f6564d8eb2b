"""An array of images in a file, read and written without a memory map.

The pages of a memory map count as resident memory and grow with the data. If the file of a map
shrinks, the process ends with a bus error. `preadv` copies only the requested images and reports a
file that is too short.
"""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

from latentlab.utils.errors import LatentlabError


class DiskArray:
    """uint8 (N, C, H, W) from byte `offset` of a file on, with the index syntax of an array.

    `array[i]` is one image (C, H, W). `array[a:b]` and `array[integers]` are copies (n, C, H, W).
    `array[i] = image` writes. Threads can share it. It duplicates the descriptor `file` and closes
    the duplicate when the array is deleted.

    Raises:
        OSError: the file ends before a requested image.
        LatentlabError: an image cannot be written.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, file: int, shape: tuple[int, ...], offset: int = 0) -> None:
        """`file` is an open descriptor."""
        self.shape = shape
        self.file = os.dup(file)
        weakref.finalize(self, os.close, self.file)
        self._offset, self._row_bytes = offset, math.prod(shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, int):
            return self._read(np.array([rows]))[0]
        if isinstance(rows, slice):
            return self._read(np.arange(*rows.indices(len(self))))
        return self._read(rows)

    def __setitem__(self, row: int, image: np.ndarray) -> None:
        content = np.ascontiguousarray(image, np.uint8)
        try:
            written = os.pwrite(self.file, content.data, self._place(row))
        except OSError as error:
            raise LatentlabError(
                f"Images cannot be written ({error}). Free space on the disk."
            ) from error
        if written != self._row_bytes:
            raise LatentlabError(
                "Images cannot be written: the disk is full. Free space on the disk."
            )

    def first(self, count: int) -> DiskArray:
        """The first `count` images, as a view."""
        return DiskArray(self.file, (count, *self.shape[1:]), self._offset)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        if not images.size:
            return images
        target, size = images.reshape(-1).data, self._row_bytes
        slots = np.argsort(rows, kind="stable")  # a disk reads fastest in order
        places = [self._place(row) for row in rows[slots].tolist()]
        if hasattr(os, "posix_fadvise"):
            for place in places:  # announce all reads first: 3 times faster without a warm cache
                os.posix_fadvise(self.file, place, size, os.POSIX_FADV_WILLNEED)
        for slot, place in zip(slots.tolist(), places, strict=True):
            piece = target[slot * size : (slot + 1) * size]
            if os.preadv(self.file, [piece], place) != size:
                raise OSError(f"the file ends before image {rows[slot]}")
        return images

    def _place(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._offset + row * self._row_bytes


def temporary_array(shape: tuple[int, ...], folder: Path) -> DiskArray:
    """Return an array of zeros in an unnamed file of `folder`, which no process leaves behind.

    Raises:
        LatentlabError: there is not enough space on the disk.
    """
    size = math.prod(shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(size)
            if size and hasattr(os, "posix_fallocate"):  # a full disk is an error now, not later
                os.posix_fallocate(file.fileno(), 0, size)
            return DiskArray(file.fileno(), shape)
    except OSError as error:
        raise LatentlabError(
            f"{folder} has no space for {size / 1e9:.1f} GB of decoded images ({error}). Free "
            "space on the disk, or lower data.size."
        ) from error
