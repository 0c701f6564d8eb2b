"""The values that options accept. A wrong value is an error in words, before any work starts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def positive(text: str) -> int:
    """A whole number ≥ 1."""
    return _whole(text, "must be a whole number ≥ 1", least=1)


def seed(text: str) -> int:
    """A whole number from 0 to 2^63 − 1."""
    return _whole(text, "must be a whole number, 0 to 2^63 - 1", least=0, most=2**63 - 1)


def port(text: str) -> int:
    """A TCP port."""
    return _whole(text, "must be a port, 1 to 65535", least=1, most=65535)


def step(text: str) -> float:
    """A finite number > 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {text!r}")
    return number


def folder(text: str) -> Path:
    """A folder that exists, or the path of a new one."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a file: give the name of a folder")
    return path


def output(*suffixes: str) -> Callable[[str], Path]:
    """The path of a new file that ends in one of `suffixes`, such as ".png"."""

    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in suffixes:
            allowed = " or ".join(suffixes)
            raise argparse.ArgumentTypeError(f"must end in {allowed}, got {text!r}")
        return path

    return parse


def _whole(text: str, rule: str, *, least: int, most: int | None = None) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}") from None
    if number < least or (most is not None and number > most):
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return number
