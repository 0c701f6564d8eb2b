"""Lists of names, and numbers of things, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAMES = 5
PLURAL_VERBS = {"is": "are", "has": "have", "equals": "equal", "was": "were"}


def counted(count: int, noun: str, verb: str | None = None) -> str:
    """`1 model`, `2 models`, `1,000 classes`; with a verb of PLURAL_VERBS, `1 model is`."""
    if count != 1:
        noun, verb = noun + ("es" if noun.endswith("s") else "s"), PLURAL_VERBS.get(verb or "")
    return f"{count:,} {noun}" + (f" {verb}" if verb else "")


def some(names: Iterable[str]) -> str:
    """The first five names, and how many more there are. Invalid UTF-8 is escaped."""
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMES:,} more" if len(listed) > MAX_NAMES else ""
    text = ", ".join(listed[:MAX_NAMES]) + more
    return text.encode("utf-8", "backslashreplace").decode()
