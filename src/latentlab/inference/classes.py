"""Classes by name or number, for models whose codes contain a class."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from latentlab.config.keys import nearest
from latentlab.utils.errors import LatentlabError

Classes = SupportsIndex | str | Sequence[SupportsIndex | str]


def class_indices(
    classes: Classes, num_classes: int, names: Sequence[str] | None = None
) -> list[int]:
    """Return the index of each class, in 0…K − 1.

    A number is the index itself. A text is a name, or an index if no class has this name.

    Raises:
        LatentlabError: no class, or a class that the model does not have; the message lists them.
    """
    given: list[Any] = [classes]
    if isinstance(classes, Iterable) and not isinstance(classes, str):
        given = list(classes)
    if not given:
        raise LatentlabError("The list of classes is empty. Give one class or more.")
    return [_index(each, num_classes, list(names or ())) for each in given]


def _index(given: SupportsIndex | str, num_classes: int, names: list[str]) -> int:
    if isinstance(given, str) and given in names:
        return names.index(given)
    if isinstance(given, SupportsIndex):  # also of NumPy and torch
        given = operator.index(given)
    if isinstance(given, int) or (isinstance(given, str) and given.isdecimal()):
        if 0 <= int(given) < num_classes:
            return int(given)
    elif not isinstance(given, str):
        raise LatentlabError(
            f"A class is {given!r} ({type(given).__name__}). Give its name or its index."
        )
    close = None if str(given).isdecimal() else nearest(str(given), names)
    hint = f"Did you mean {close!r}? " if close else ""
    listed = f" ({', '.join(names)})" if names else ""
    raise LatentlabError(
        f"The model has no class {given!r}. {hint}Classes are 0 to {num_classes - 1}{listed}."
    )


def cycled(indices: Iterable[int], count: int) -> Tensor:
    """The classes of `count` images, int64 (count,): the given ones in turn."""
    chosen = torch.tensor(list(indices), dtype=torch.int64)
    return chosen.repeat(-(-count // len(chosen)))[:count]
