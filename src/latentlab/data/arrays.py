"""The .npy files of data/prepared. Each is verified against meta.json when it is opened."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import torch

from latentlab.utils.errors import LatentlabError


def load_array(path: Path, dtype: type, shape: tuple[int, ...], *, mmap: bool) -> torch.Tensor:
    """Return the array as a tensor: in memory or, with `mmap`, as a read-only memory map.

    Raises:
        LatentlabError: as `open_array`.
    """
    file, offset = open_array(path, dtype, shape)
    array: np.ndarray
    try:
        with file:
            if mmap:
                array = np.memmap(file, dtype, "r", offset, shape)
            else:
                array = np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
    except (OSError, ValueError) as error:  # truncated since it was opened
        raise incomplete(path.parent, f"{path.name} cannot be read ({error})") from error
    with warnings.catch_warnings():
        # The map is read-only on purpose: all of a writable private map counts as used memory.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def open_array(path: Path, dtype: type, shape: tuple[int, ...]) -> tuple[IO[bytes], int]:
    """Return the open file and the offset of its first element in bytes.

    Raises:
        LatentlabError: the file is missing, damaged, too short or too long, or it has another type
            or shape.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise incomplete(path.parent, f"{path.name} cannot be read ({error})") from error
    try:
        np.lib.format.read_magic(file)
        found, fortran_order, found_dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
        size = os.fstat(file.fileno()).st_size
    except Exception as error:  # numpy raises any exception for damaged headers
        file.close()
        raise incomplete(path.parent, f"{path.name} cannot be read ({error})") from error
    needed = offset + math.prod(shape) * np.dtype(dtype).itemsize
    if (found, found_dtype, fortran_order) == (shape, dtype, False) and size == needed:
        return file, offset
    file.close()
    raise incomplete(
        path.parent,
        f"{path.name} has {found_dtype} {found} in {size} bytes, but meta.json has "
        f"{np.dtype(dtype)} {shape}, which is {needed} bytes",
    )


def incomplete(folder: Path, reason: str) -> LatentlabError:
    """Return the error for a prepared folder that stage `prepare` did not write like this."""
    return LatentlabError(
        f"{folder} is not a complete prepared folder: {reason}. Run `dvc repro prepare`."
    )
