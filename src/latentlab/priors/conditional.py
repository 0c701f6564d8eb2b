"""Codes with a meaning at their end: noise, then what is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.priors.base import Prior, device_of


class Conditional(Prior):
    """z = (ε, y): standard normal noise ε, then a class y as a one-hot row, uniform over classes.

    `num_classes` K is the model's to say: it sets the attribute of the sampler it is given. So a
    config does not repeat what the data know.
    """

    num_classes: int = 0

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Codes (N, D), whose last K numbers are one-hot. Raises ValueError unless 2 ≤ K < D."""
        count, dim = shape
        self._check(dim)
        device = device_of(generator)
        z = torch.zeros(shape, device=device)
        noise = dim - self.num_classes
        z[:, :noise] = torch.randn(count, noise, generator=generator, device=device)
        y = torch.randint(self.num_classes, (count, 1), generator=generator, device=device)
        return z.scatter_(1, noise + y, 1.0)

    def _check(self, dim: int) -> None:
        if not 2 <= self.num_classes < dim:
            raise ValueError(
                f"{type(self).__name__} is to draw {dim} numbers with {self.num_classes} classes at"
                " their end: there must be two classes or more, and noise before them. The model"
                " sets num_classes: use this sampler with a conditional one, such as ConditionalGAN"
            )


class Coded(Conditional):
    """z = (ε, c, y): `num_continuous` numbers c, uniform on [−1, 1], between noise and class.

    The prior of InfoGAN (Chen et al. 2016, section 7.1); the model says how many of each.
    """

    num_continuous: int = 0

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        z = super().sample(shape, generator)
        uniform = torch.rand(
            shape[0], self.num_continuous, generator=generator, device=device_of(generator)
        )
        end = shape[1] - self.num_classes
        z[:, end - self.num_continuous : end] = 2 * uniform - 1
        return z

    def _check(self, dim: int) -> None:
        super()._check(dim - self.num_continuous)


def with_class(z: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """The codes z (B, D), a class y (B,) int64 in place of the one at their end."""
    one_hot = torch.zeros(len(y), num_classes, device=z.device, dtype=z.dtype)
    return torch.cat([z[:, :-num_classes], one_hot.scatter_(1, y[:, None], 1.0)], 1)
