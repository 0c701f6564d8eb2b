"""bfloat16 for a part of a model, on hardware that computes in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")  # of x86, of ARM


def bfloat16_autocast(device: torch.device, *, enabled: bool) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on a GPU, and on a processor with instructions for it.

    Other processors emulate it: there, and without `enabled`, the precision stays what it is.
    """
    if enabled and computes_in_bfloat16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def computes_in_bfloat16(device: torch.device) -> bool:
    """Return False for a processor that has no instructions for bfloat16 and emulates it."""
    if device.type != "cpu":
        return True
    probe: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = probe()  # {} where torch is too old to tell
    return any(capabilities.get(name, False) for name in CPU_INSTRUCTIONS)
