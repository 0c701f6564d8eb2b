"""LatentlabError, fetched when it is needed: its module imports torch, which takes a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentlab.contracts import LatentlabError


def mistake(message: str) -> LatentlabError:
    """The error to raise: the message says what came, what is allowed and what to do."""
    from latentlab.contracts import LatentlabError

    return LatentlabError(message)


def is_mistake(error: Exception) -> bool:
    """Whether `error` is a LatentlabError."""
    from latentlab.contracts import LatentlabError

    return isinstance(error, LatentlabError)
