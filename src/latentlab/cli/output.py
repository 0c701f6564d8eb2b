"""What all commands print: errors in one line, and names of files that a terminal can show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn


def stop(message: str) -> NoReturn:
    """Print one line to stderr and exit with code 2."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    raise SystemExit(2) from None


def printable(name: str) -> str:
    """Return a file name on one line: control characters and invalid UTF-8 as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def unknown_command(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Stop if the first argument is no command, and name the most similar one."""
    known = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    if not argv or argv[0].startswith("-") or argv[0] in known:
        return
    close = get_close_matches(argv[0], list(known), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    stop(f"unknown command {printable(argv[0])!r}: {hint}commands are {', '.join(known)}")
