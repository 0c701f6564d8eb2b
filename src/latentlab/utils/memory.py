"""Memory: its size, out-of-memory errors, and a setting of malloc that saves time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

FRACTION = 4  # images are kept in memory if they take less than 1/4 of it
# parts of torch's messages about too little memory
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc rejects larger values
MADV_HUGEPAGE, HUGE_PAGE, HEAP = 14, 2 * 2**20, 2**30  # mman.h; bytes


def fits_memory(num_bytes: int) -> bool:
    """Return True if `num_bytes` is less than a quarter of the memory limit of this process."""
    return FRACTION * num_bytes < memory_limit()


def memory_limit(
    hierarchy: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the machine's memory in bytes, or the limit of the control group if it is lower.

    Reads control groups v1 and v2. Returns 0 if the size is unknown (Windows): images are then
    streamed.
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0
    return min(machine, _group_limit(hierarchy, own))


def _group_limit(hierarchy: Path, own: Path) -> int:
    """Return the lowest limit of this process's control group and the groups above it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return sys.maxsize
    limits = [sys.maxsize]  # "max" and unreadable files set no limit
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = hierarchy / "memory" if controllers else hierarchy
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top) and (folder / name).is_file():
                text = (folder / name).read_text().strip()
                limits += [int(text)] if text.isdecimal() else []
    return min(limits)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if `error` means too little memory: on a GPU, in torch on the CPU, in Python."""
    in_torch = isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
    # by name, so that this module does not import torch
    on_gpu = type(error).__name__ == "OutOfMemoryError"
    return in_torch or on_gpu or isinstance(error, MemoryError)


def keep_freed_memory() -> bool:
    """Set glibc's malloc to keep freed blocks for the next step. Return True if it worked.

    By default, large tensors (from 128 KiB to 32 MiB) are mapped again in each step, and the kernel
    clears their pages. The blocks are also on pages of 2 MiB, if the kernel permits it: a tensor on
    pages of 4 KiB has hundreds of them, more than a processor looks up at once. This changes no
    number. It costs up to 1 GiB of resident memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # here, as all commands import this module

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl
        return False
    _extend_heap_by_huge_pages(libc)
    settings = {
        M_MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD,
        M_TRIM_THRESHOLD: 2**30,
        M_TOP_PAD: 64 * 2**20,
    }
    return all(libc.mallopt(name, value) == 1 for name, value in settings.items())


def _extend_heap_by_huge_pages(libc: Any) -> None:
    """Reserve the next addresses of the heap, and advise the kernel to use huge pages there.

    They take no memory before they are used. Nothing changes if the kernel refuses.
    """
    import ctypes

    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    libc.mallopt(M_TOP_PAD, HEAP)
    block = libc.malloc(LARGEST_MMAP_THRESHOLD - HUGE_PAGE)  # no free block is as large
    if block is not None:
        libc.madvise(-(-block // HUGE_PAGE) * HUGE_PAGE, HEAP, MADV_HUGEPAGE)
        libc.free(block)
