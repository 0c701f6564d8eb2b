"""The error that a user can fix."""

from __future__ import annotations


class LatentlabError(Exception):
    """An error that a user can fix. Its message says what was found, allowed, and what to do."""
