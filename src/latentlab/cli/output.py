"""What all commands print, errors in one line, and the places of output that cannot be written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def stop(message: str) -> NoReturn:
    """Print one line to stderr and exit with code 2."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    raise SystemExit(2) from None


def printable(name: str) -> str:
    """Return a file name on one line: control characters and invalid UTF-8 as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def unknown_command(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Stop if the first argument is no command and no option, and name the most similar command."""
    known = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    options = [*parser._option_string_actions, "--"]
    if not argv or argv[0] in known or argv[0] in options:
        return
    if argv[0].startswith("-"):
        stop(f"unknown option {printable(argv[0])!r} in front of a command: give a command first")
    from difflib import get_close_matches

    close = get_close_matches(argv[0], list(known), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    stop(f"unknown command {printable(argv[0])!r}: {hint}commands are {', '.join(known)}")


def require_writable(path: Path, *, is_folder: bool = False, is_new: bool = False) -> None:
    """Stop if no file, or no folder, can be written at `path`, before any work starts.

    Tries it with a temporary file. A full disk is an error of the writing. `is_new`: the folder
    may not exist.
    """
    import tempfile

    try:
        if is_new and path.exists():
            stop(f"{path} exists already: choose a new folder with -o")
        if path.is_dir() and not is_folder:
            stop(f"{path} is a folder: give the name of a new {path.suffix} file")
        parent = path if path.is_dir() else path.parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            stop(f"{path} cannot be written: {parent} is a file. Choose a path in a folder")
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        stop(f"{path} cannot be written ({error.strerror}). Choose a path in a writable folder")
