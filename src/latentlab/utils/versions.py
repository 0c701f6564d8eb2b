"""Versions of installed packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str:
    """Return the version of a package; “–” if its source folder is on the path, not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"
