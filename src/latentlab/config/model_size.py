"""Memory of a model, measured on torch's meta device before any of it is allocated."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from latentlab.utils.errors import LatentlabError
from latentlab.utils.memory import memory_limit

GIB = 2**30
COPIES = 4  # weights, gradients, and the two moments of Adam


def check_size(make: Callable[[], tuple[Any, Any]], name: str, files: str) -> None:
    """Build without memory and compare with the memory of the machine.

    Raise LatentlabError if weights, gradients and the moments of Adam do not fit, or if a size has
    more than 64 bits. Any other error passes: building the model in memory reports it.
    """
    import torch

    try:
        with torch.device("meta"):
            modules = [module for module in make() if module is not None]
    except Exception as error:
        if "overflow" not in str(error).lower():
            return
        raise LatentlabError(
            f"{name} cannot be built ({files}): a size has more than 64 bits; use a smaller one"
        ) from None
    tensors = {id(t): t for m in modules for t in (*m.parameters(), *m.buffers())}.values()
    count = sum(tensor.numel() for tensor in tensors)
    needed = COPIES * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > (most := memory_limit() or sys.maxsize):
        raise LatentlabError(
            f"{name} cannot be built ({files}): its {count:,} values need {needed / GIB:,.0f} GiB"
            " to train (weights, gradients, two moments of Adam); the machine has"
            f" {most / GIB:,.1f} GiB. Use smaller layers"
        )
