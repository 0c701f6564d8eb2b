"""What half precision cannot hold: under autocast a network's outputs have 8 or 11 bits."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """x in float32 if it is of a smaller type, else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
