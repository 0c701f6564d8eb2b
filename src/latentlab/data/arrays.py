"""The .npy files of a prepared folder, opened only if they are whole and what meta.json says."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import torch

from latentlab.contracts import LatentlabError


def load_array(path: Path, dtype: type, shape: tuple[int, ...], *, mmap: bool) -> torch.Tensor:
    """The array as a tensor, in memory or (`mmap`) read-only and paged in when used.

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
    except (OSError, ValueError) as error:  # cut off since it was opened
        raise unusable(path.parent, f"{path.name} cannot be read ({error})") from error
    with warnings.catch_warnings():
        # Read-only is meant: a private writable map would count against memory in full.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def open_array(path: Path, dtype: type, shape: tuple[int, ...]) -> tuple[IO[bytes], int]:
    """The open file and the byte where its first element lies.

    Raises:
        LatentlabError: absent, damaged, too short or too long, or of another type or shape.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise unusable(path.parent, f"{path.name} cannot be read ({error})") from error
    try:
        np.lib.format.read_magic(file)
        found, by_columns, kind = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
        size = os.fstat(file.fileno()).st_size
    except Exception as error:  # numpy's parser raises what it likes on damaged headers
        file.close()
        raise unusable(path.parent, f"{path.name} cannot be read ({error})") from error
    needed = offset + math.prod(shape) * np.dtype(dtype).itemsize
    if (found, kind, by_columns) == (shape, dtype, False) and size == needed:
        return file, offset
    file.close()
    raise unusable(
        path.parent,
        f"{path.name} holds {kind} {found} in {size} bytes, meta.json says {np.dtype(dtype)} "
        f"{shape}, which is {needed} bytes",
    )


def unusable(folder: Path, what: str) -> LatentlabError:
    """The error for a prepared folder that is not as prepare left it."""
    return LatentlabError(
        f"{folder} is no complete prepared folder: {what}; run `dvc repro prepare`."
    )
