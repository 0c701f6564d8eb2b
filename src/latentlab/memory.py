"""Memory: keep what was freed for the next step; know an error that says there was too little."""

from __future__ import annotations

import ctypes
import sys

TOO_LITTLE = ("can't allocate memory", "not enough memory", "out of memory")  # torch's words
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more


def keep_freed_memory() -> bool:
    """Tell glibc's malloc not to return large blocks at once; True if it listened.

    By default every tensor above 128 KiB to 32 MiB is mapped anew at each step and its pages are
    cleared again by the kernel. Changes no number, only time and up to 1 GiB of resident memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    settings = {
        M_MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD,
        M_TRIM_THRESHOLD: 2**30,
        M_TOP_PAD: 64 * 2**20,
    }
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was too little memory, on a GPU, in Python or in torch."""
    told = isinstance(error, RuntimeError) and any(sign in str(error) for sign in TOO_LITTLE)
    # torch.OutOfMemoryError is known by its name: this module costs no import of torch
    return told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
