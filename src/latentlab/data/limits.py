"""How much memory there is, and what may be held in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SHARE = 4  # images are held in memory if they take less than a quarter of it


def fits_memory(num_bytes: int) -> bool:
    """Whether that much is less than a quarter of the memory that this process may use."""
    return SHARE * num_bytes < memory_limit()


def memory_limit(
    hierarchy: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Bytes: the machine's memory, or the control group's limit (v1 or v2) where that is less.

    0 where nobody says (Windows): streaming always works.
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0
    return min(machine, _group_limit(hierarchy, own))


def _group_limit(hierarchy: Path, own: Path) -> int:
    """The least limit on the way from this process's group up to the root of the hierarchy."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return sys.maxsize
    limits = [sys.maxsize]  # "max" and unreadable files add nothing
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
