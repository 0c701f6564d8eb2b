"""Codes that contain noise and a class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import CodePart
from latentlab.samplers.fixed import Prior, device_of
from latentlab.samplers.projection import project_parts


class _WithClass(Prior):
    """z = (ε, y): standard normal noise ε, then a class y, one-hot, uniform over the classes.

    The model sets `num_classes` K of the sampler that it gets, because K depends on the data.
    """

    num_classes: int = 0

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Codes (N, D) whose last K values are one-hot. Raises ValueError unless 2 ≤ K < D."""
        count, dim = shape
        self._check(dim)
        device = device_of(generator)
        z = torch.zeros(shape, device=device)
        noise = dim - self.num_classes
        z[:, :noise] = torch.randn(count, noise, generator=generator, device=device)
        y = self._sample_classes(count, generator)
        return z.scatter_(1, noise + y[:, None], 1.0)

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        """Noise, then the class. Raises ValueError unless 2 ≤ K < D."""
        self._check(dim)
        noise = dim - self.num_classes
        return CodePart("gaussian", noise), CodePart("one_hot", self.num_classes)

    def project(self, z: Tensor) -> Tensor:
        return project_parts(z, self.parts(z.shape[1]))

    def _sample_classes(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Classes (N,), int64, on the generator's device."""
        device = device_of(generator)
        return torch.randint(self.num_classes, (count,), generator=generator, device=device)

    def _check(self, dim: int) -> None:
        if not 2 <= self.num_classes < dim:
            raise ValueError(
                f"{type(self).__name__} has {self.num_classes} classes and codes of {dim} values:"
                " it needs 2 classes or more, and noise besides them. The model sets num_classes:"
                " use this sampler with a conditional model, such as ConditionalGAN"
            )


class ClassConditional(_WithClass):
    """z = (ε, y): standard normal noise ε, then a class y, one-hot, as frequent as in the data.

    `class_frequencies` (K,) are p(y), set by `fit_classes`. They are empty before that, and all
    classes are then equally frequent. `with_class` sets the class of a code.
    """

    class_frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("class_frequencies", torch.empty(0))

    def fit_classes(self, labels: Tensor) -> None:
        """Set the class frequencies to those of `labels` (N,), int64.

        Raises ValueError for no labels, and for labels that are not in 0…K − 1.
        """
        counts = labels.bincount(minlength=self.num_classes)
        if len(labels) == 0 or len(counts) != self.num_classes:
            raise ValueError(
                f"{len(labels)} labels of {len(counts)} classes for a {type(self).__name__} of"
                f" {self.num_classes} classes: there must be labels, in 0…{self.num_classes - 1}."
                " The model sets num_classes: use this sampler with a conditional model, such as"
                " ConditionalGAN"
            )
        self.class_frequencies = (counts / len(labels)).to(self.class_frequencies.device)

    def _sample_classes(self, count: int, generator: torch.Generator | None) -> Tensor:
        if not len(self.class_frequencies):
            return super()._sample_classes(count, generator)
        p = self.class_frequencies.to(device_of(generator))
        return torch.multinomial(p, count, replacement=True, generator=generator)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(f"{prefix}class_frequencies")
        if stored is not None:
            if stored.numel() and not self._are_frequencies(stored):
                raise ValueError(
                    f"class frequencies of shape {tuple(stored.shape)} for {self.num_classes}"
                    " classes: there must be one for each, ≥ 0, and their sum must be 1"
                )
            self.class_frequencies = self.class_frequencies.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _are_frequencies(self, p: Tensor) -> bool:
        valid = p.shape == (self.num_classes,) and float(p.min()) >= 0
        return valid and abs(float(p.sum()) - 1) < 1e-3


class InfoGANPrior(_WithClass):
    """z = (ε, c, y): noise ε, J = `num_continuous` values c uniform on [−1, 1], a class y.

    The prior of InfoGAN (Chen et al. 2016, sections 7.1 and 7.2). The model sets both numbers.
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

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        """Noise, the continuous codes, then the class."""
        noise, category = super().parts(dim)
        uniform = CodePart("uniform", self.num_continuous)
        return CodePart("gaussian", noise.size - self.num_continuous), uniform, category

    def _check(self, dim: int) -> None:
        super()._check(dim - self.num_continuous)


def with_class(z: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """The codes z (B, D) with their last `num_classes` values replaced by one-hot y (B,), int64."""
    one_hot = torch.zeros(len(y), num_classes, device=z.device, dtype=z.dtype)
    return torch.cat([z[:, :-num_classes], one_hot.scatter_(1, y[:, None], 1.0)], 1)
