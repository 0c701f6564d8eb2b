"""Functions in place of the random ones of a training step, which a test can compute again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from latentlab.transforms.augmentation import AUGMENTATIONS


def noise_of(x: Tensor) -> Tensor:
    """Noise that is a function of its image, so that the order of the calls does not matter."""
    return (37 * x.detach()).cos()


def mirror(x: Tensor, strength: float, generator: Any = None) -> Tensor:
    """In place of a random affine map: blend an image with its mirror image."""
    return torch.lerp(x, x.flip(3), strength)


def between(count: int) -> Tensor:
    """In place of uniform numbers: `count` numbers from 0.2 to 0.8."""
    return torch.linspace(0.2, 0.8, count, dtype=torch.float64)


def _uniform(*size: Any, **_: Any) -> Tensor:
    """In place of torch.rand: the numbers of `between` in the given shape."""
    shape = torch.Size(size[0] if size[0] == () else size)
    return between(shape.numel()).view(shape)


def _integers(low: int, *rest: Any, **_: Any) -> Tensor:
    """In place of torch.randint: high − 1, high − 2, …, low, high − 1, … in the given shape."""
    *high, size = rest
    low, end = (low, high[0]) if high else (0, low)
    numbers = torch.arange(torch.Size(size).numel()).reshape(size)
    return end - 1 - numbers % (end - low)


AUGMENTED = {"brightness": lambda x: 0.7 * x + 0.2, "cutout": lambda x: x * x.roll(1, 3).sin()}


def replace_randomness(patch: pytest.MonkeyPatch) -> None:
    """Replace torch's random functions by the functions above, and Adam by gradient descent."""
    patch.setattr(torch, "randn_like", lambda x, **_: noise_of(x))
    patch.setattr(torch, "rand", _uniform)
    patch.setattr(torch, "randint", _integers)
    for name, function in AUGMENTED.items():
        patch.setitem(AUGMENTATIONS, name, function)
    patch.setattr(
        "latentlab.optim.adam.FusedAdam", lambda parameters, lr, **_: SGD(parameters, lr=lr)
    )
