"""Fixed priors, and the base class of all samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from latentlab.contracts import CodePart
from latentlab.samplers.projection import project_parts


class Prior(nn.Module, ABC):
    """A distribution over codes (N, D), sampled with an explicit generator."""

    @property
    def learns(self) -> bool:
        """True if the class has a `fit` of its own. A fixed prior does not."""
        return type(self).fit is not Prior.fit

    def fit(self, codes: Tensor) -> None:
        """Fit to training codes (N, D). A fixed prior ignores them."""

    @abstractmethod
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Sample codes (N, D), float32, on the generator's device (None: CPU, global generator)."""


def device_of(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


class StandardNormal(Prior):
    """N(0, I)."""

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(shape, generator=generator, device=device_of(generator))

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("gaussian", dim),)

    def project(self, z: Tensor) -> Tensor:
        return project_parts(z, self.parts(z.shape[1]))


class Uniform(Prior):
    """Uniform on the cube [−1, 1]^D, the prior of the first DCGAN (Radford et al. 2016)."""

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(shape, generator=generator, device=device_of(generator)) * 2 - 1

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("uniform", dim),)

    def project(self, z: Tensor) -> Tensor:
        return project_parts(z, self.parts(z.shape[1]))
