"""The memory limit of the machine or of its control group."""

import os

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
