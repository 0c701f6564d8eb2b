"""Arguments of the Python API: numbers, paths and codes in the types that users have them."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError

CodeInput = Any
"""A tensor, a NumPy array or lists of numbers: see `as_codes`."""

MAX_SEED = 2**63 - 1


def whole_number(value: Any, what: str, *, least: int, most: int = MAX_SEED) -> int:
    """Return an integer of Python, NumPy or torch as int. Raise LatentlabError for anything else.

    `what` names the argument in the message, such as "The seed".
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        limit = "2^63 − 1" if most == MAX_SEED else f"{most:,}"
        raise LatentlabError(
            f"{what} is {value!r}. It must be a whole number from {least} to {limit}."
        )
    return number


def whole_seed(value: Any) -> int:
    """Return a seed. Raise LatentlabError for what is no whole number from 0 to 2^63 − 1."""
    return whole_number(value, "The seed", least=0)


def as_path(value: Any, what: str) -> Path:
    """Return a path. Raise LatentlabError for what is neither text nor a path."""
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise LatentlabError(f"{what} is {value!r} ({type(value).__name__}). Give a name or a path.")


def as_codes(z: Any, dim: int, *, name: str = "The model") -> Tensor:
    """Return codes as a float32 tensor (N, D), D = `dim`.

    `z`: a tensor, a NumPy array or lists of numbers. Raises LatentlabError for another type, for
    another shape, for complex numbers, and for values that are not finite.
    """
    try:
        codes = z if isinstance(z, Tensor) else torch.from_numpy(np.array(z))
    except (TypeError, ValueError):  # text, objects, lists of unequal lengths
        raise LatentlabError(
            f"Codes are {type(z).__name__} that cannot be read as numbers. {name} needs a tensor or"
            f" an array of shape (N, {dim})."
        ) from None
    if codes.ndim != 2 or codes.shape[1] != dim:
        raise LatentlabError(
            f"Codes have shape {tuple(codes.shape)}. {name} needs (N, {dim}). Use codes of this"
            " model."
        )
    if codes.is_complex():
        raise LatentlabError(f"Codes are {codes.dtype}. They must be real numbers.")
    codes = codes.to(torch.float32)
    if bad := int((~codes.isfinite()).any(1).sum()):
        raise LatentlabError(
            f"{bad} of {len(codes)} codes have values that are NaN or infinite, or too large for"
            f" float32. {name} needs finite numbers."
        )
    return codes
