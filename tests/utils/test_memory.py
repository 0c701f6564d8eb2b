"""The memory limit of the machine or of its control group; malloc's settings."""

import os
import platform
import subprocess
import sys

import pytest

from latentlab.utils.memory import fits_memory, memory_limit


def test_a_quarter_of_the_memory_fits() -> None:
    assert fits_memory(10_000)
    assert not fits_memory(1 << 60)


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b", {"a/memory.max": "5000", "a/b/memory.max": "max"}, 5000),
        ("0::/a/b", {"a/memory.max": "5000", "a/b/memory.max": "3000"}, 3000),
        ("0::/elsewhere/on/the/host", {"memory.max": "7000"}, 7000),
        ("5:cpu,memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "9000"}, 9000),
        ("5:cpu:/a", {"memory/a/memory.limit_in_bytes": "9000"}, None),
        (None, {"memory.max": "7000"}, None),
    ],
)
def test_the_limit_of_a_control_group_is_used(tmp_path, own, files, limit) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text + "\n")
    if own:
        (tmp_path / "own").write_text(own + "\n")
    found = memory_limit(tmp_path / "cgroup", tmp_path / "own")
    assert found == (limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_large_freed_blocks_stay_in_a_heap_with_huge_pages() -> None:
    program = """
import ctypes
from pathlib import Path
from latentlab.utils.memory import keep_freed_memory
assert keep_freed_memory() and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
first = libc.malloc(24 << 20)
libc.free(first)
assert libc.malloc(24 << 20) == first  # not mapped anew
for line in Path("/proc/self/smaps").read_text().splitlines():
    low, _, high = line.split()[0].partition("-")
    if high:  # the first line of a mapping: its addresses
        inside = int(low, 16) <= first + (12 << 20) < int(high, 16)
    elif low == "VmFlags:" and inside:
        print("hg" in line.split())  # the kernel is advised to use huge pages
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    huge = "/sys/kernel/mm/transparent_hugepage"
    assert done.stdout == f"{os.path.exists(huge)}\n"
