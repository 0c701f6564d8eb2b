"""Rows of images in a file, read and written without mapping it.

The pages of a memory map count as resident and grow with the data, and a map whose file shrinks
ends the process by a bus error. `preadv` copies the rows asked for and tells when they are absent.
"""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

from latentlab.contracts import LatentlabError


class ImageRows:
    """uint8 (N, C, H, W) from byte `offset` of a file on; indexed like an array.

    `rows[i]` is one image (C, H, W); `rows[a:b]` and `rows[integers]` are copies (n, C, H, W);
    `rows[i] = image` writes. Threads may share it. It keeps `file` open by a descriptor of its own,
    which goes when the rows go. Raises OSError where the file ends too early, LatentlabError where
    a row cannot be written.
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
            raise LatentlabError(f"images cannot be written ({error}); make room there") from error
        if written != self._row_bytes:
            raise LatentlabError("the disk of the images is full; make room there")

    def first(self, count: int) -> ImageRows:
        """The first `count` rows, as a view."""
        return ImageRows(self.file, (count, *self.shape[1:]), self._offset)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        if not images.size:
            return images
        target, size = images.reshape(-1).data, self._row_bytes
        slots = np.argsort(rows, kind="stable")  # a disk likes to go one way
        places = [self._place(row) for row in rows[slots].tolist()]
        if hasattr(os, "posix_fadvise"):
            for place in places:  # all of it at once in the disk's queue: 3 times faster when cold
                os.posix_fadvise(self.file, place, size, os.POSIX_FADV_WILLNEED)
        for slot, place in zip(slots.tolist(), places, strict=True):
            piece = target[slot * size : (slot + 1) * size]
            if os.preadv(self.file, [piece], place) != size:
                raise OSError(f"the file ends before image {rows[slot]} does")
        return images

    def _place(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._offset + row * self._row_bytes


def scratch_rows(shape: tuple[int, ...], folder: Path) -> ImageRows:
    """Zeroed rows in a file of `folder` without a name: even a killed process leaves nothing.

    Raises:
        LatentlabError: no room on the disk.
    """
    size = math.prod(shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(size)
            if size and hasattr(os, "posix_fallocate"):  # a full disk must fail now, not half-way
                os.posix_fallocate(file.fileno(), 0, size)
            return ImageRows(file.fileno(), shape)
    except OSError as error:
        raise LatentlabError(
            f"{folder} has no room for {size / 1e9:.1f} GB of decoded images ({error}); free "
            "some, or lower data.size."
        ) from error
