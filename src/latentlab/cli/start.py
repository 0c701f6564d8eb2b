"""What `latentlab init` prints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def next_steps(folder: Path) -> str:
    """Return what to type after `latentlab init`."""
    place = shlex.quote(str(folder))
    return f"To train and compare the models:\n  cd {place}\n  latentlab repro --open"


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows one line of progress on a terminal; it is erased at the end."""
    shown = sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    try:
        yield say
    finally:
        say("")
