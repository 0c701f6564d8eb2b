"""Codes with a meaning at their end: noise, then what is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentlab.priors.base import Prior, device_of


class _WithClass(Prior):
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
        y = self._draw_classes(count, generator)
        return z.scatter_(1, noise + y[:, None], 1.0)

    def _draw_classes(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Classes (N,), int64, on the generator's device."""
        device = device_of(generator)
        return torch.randint(self.num_classes, (count,), generator=generator, device=device)

    def _check(self, dim: int) -> None:
        if not 2 <= self.num_classes < dim:
            raise ValueError(
                f"{type(self).__name__} is to draw {dim} numbers with {self.num_classes} classes at"
                " their end: there must be two classes or more, and noise before them. The model"
                " sets num_classes: use this sampler with a conditional one, such as ConditionalGAN"
            )


class Conditional(_WithClass):
    """z = (ε, y): standard normal noise ε, then a class y as a one-hot row, as frequent as in data.

    `shares` (K,) are p(y), those of the labels that `fit_classes` saw; empty, and every class is
    drawn alike, until then. `with_class` asks for a class instead.
    """

    shares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shares", torch.empty(0))

    def fit_classes(self, labels: Tensor) -> None:
        """Draw classes as often as they are among `labels` (N,), int64.

        Raises ValueError for no labels, and for labels beyond 0…K − 1.
        """
        counts = labels.bincount(minlength=self.num_classes)
        if len(labels) == 0 or len(counts) != self.num_classes:
            raise ValueError(
                f"{len(labels)} labels of {len(counts)} classes for a {type(self).__name__} of"
                f" {self.num_classes}: labels must be there and in 0…classes − 1. The model sets"
                " num_classes: use this sampler with a conditional one, such as ConditionalGAN"
            )
        self.shares = (counts / len(labels)).to(self.shares.device)

    def _draw_classes(self, count: int, generator: torch.Generator | None) -> Tensor:
        if not len(self.shares):
            return super()._draw_classes(count, generator)
        shares = self.shares.to(device_of(generator))
        return torch.multinomial(shares, count, replacement=True, generator=generator)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # No shares, or empty ones, say nothing: they are of a run folder from before there were any
        name = f"{prefix}shares"
        if not state_dict.get(name, torch.empty(0)).numel():
            state_dict[name] = self.shares
        found = state_dict[name]
        if found.numel() and not self._are_shares(found):
            raise ValueError(
                f"class shares of shape {tuple(found.shape)} for {self.num_classes} classes: there"
                " must be one for each, not negative, 1 in sum"
            )
        self.shares = self.shares.new_empty(found.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _are_shares(self, found: Tensor) -> bool:
        likely = found.shape == (self.num_classes,) and float(found.min()) >= 0
        return likely and abs(float(found.sum()) - 1) < 1e-3


class Coded(_WithClass):
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
