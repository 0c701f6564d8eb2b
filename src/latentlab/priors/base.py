"""Priors that are the same for every data set, and what all samplers share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Prior(nn.Module, ABC):
    """A distribution over codes (N, D) that samples with an explicit generator."""

    def fit(self, codes: Tensor) -> None:
        """Adapt to training codes (N, D); a fixed prior has nothing to learn."""

    @property
    def learns(self) -> bool:
        """Whether there is anything to fit: a fixed prior inherits the `fit` that does nothing."""
        return type(self).fit is not Prior.fit

    @abstractmethod
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Draw codes (N, D), float32, on the generator's device (None: CPU, global generator)."""


def device_of(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


class StandardNormal(Prior):
    """N(0, I)."""

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(shape, generator=generator, device=device_of(generator))


class Uniform(Prior):
    """Uniform on the cube [−1, 1]^D, as DCGAN was first trained."""

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(shape, generator=generator, device=device_of(generator)) * 2 - 1
