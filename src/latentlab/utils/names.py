"""Lists of names, and numbers of things, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAMES = 5


def counted(count: int, noun: str) -> str:
    """`1 model`, `2 models`, `1,000 models`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def some(names: Iterable[str]) -> str:
    """The first five names, and how many more there are. Invalid UTF-8 is escaped."""
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMES:,} more" if len(listed) > MAX_NAMES else ""
    text = ", ".join(listed[:MAX_NAMES]) + more
    return text.encode("utf-8", "backslashreplace").decode()
