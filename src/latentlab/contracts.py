"""What the parts of latentlab promise each other: images, data splits, models, samplers, errors.

Images are float32 tensors (B, C, H, W) in [0, 1] everywhere. On disk and in memory they rest as
uint8; `to_float` and `to_uint8` are the only two doors between the two forms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

ImageShape = tuple[int, int, int]  # (C, H, W)


class LatentlabError(Exception):
    """An error the user can mend: the message says what came, what is allowed and what to do."""


def to_float(images: Tensor) -> Tensor:
    """uint8 images 0…255 → float32 in [0, 1]; any shape, any device."""
    return images.to(torch.float32).div_(255.0)


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] → uint8 0…255, rounded to the nearest level; values outside clip."""
    return images.clamp(0, 1).mul(255.0).round_().to(torch.uint8)


@dataclass(frozen=True)
class Split:
    """One part of a data set: `images` uint8 (N, C, H, W), `labels` int64 (N,) or None.

    `images` may be a memory map larger than memory: read it through `batches`.
    """

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Split:
        """The first `count` images (all of them if there are fewer), as a view."""
        return Split(self.images[:count], None if self.labels is None else self.labels[:count])

    def some(self, most: int, *, seed: int) -> Split:
        """At most `most` images, drawn by the seed and kept in order; all, as a view, if fewer."""
        if len(self) <= most:
            return self
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(self), generator=generator)[:most].sort().values
        return Split(self.images[rows], None if self.labels is None else self.labels[rows])

    def balanced(self, count: int, *, seed: int) -> Split:
        """`count` labelled images, with class counts as equal as there are images to draw from."""
        assert self.labels is not None
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        turn = torch.empty(len(self), dtype=torch.int64)  # how many of its class came before
        for kind in self.labels.unique():
            own = (self.labels[order] == kind).nonzero().flatten()
            turn[own] = torch.arange(len(own))
        rows = order[turn.argsort(stable=True)[:count]]
        return Split(self.images[rows], self.labels[rows])

    def batches(self, size: int = 500) -> Iterator[Tensor]:
        """Yield the images in order as float32 (≤ size, C, H, W) in [0, 1]."""
        for start in range(0, len(self.images), size):
            yield to_float(self.images[start : start + size])


@runtime_checkable
class Model(Protocol):
    """What every model can do: decode a code into an image, describe an image by features.

    `latent_dim` is D. `decode`: codes (B, D) → images (B, C, H, W) in [0, 1]. `features`: images
    (B, C, H, W) → (B, F), what a linear probe reads; a GAN gives its discriminator's penultimate
    layer, an autoencoder its code.
    """

    latent_dim: int

    def decode(self, z: Tensor) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class Autoencoder(Model, Protocol):
    """A model that also encodes: images (B, C, H, W) → codes (B, D); a VAE's posterior mean."""

    def encode(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class MixesCodes(Protocol):
    """A model whose codes are no points of a space: it says itself what lies between two."""

    def mix(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        """Codes (B, D) → codes (B, D): a at `share` 0, b at 1."""
        ...


@runtime_checkable
class LinearDecoder(Protocol):
    """A model whose decoder is affine before clipping: x̂ = basis · z + offset."""

    def decoder_basis(self) -> tuple[Tensor, Tensor]:
        """Return basis (C·H·W, D) and offset (C·H·W,)."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A distribution over codes (N, D). `fit` sees training codes; a fixed prior ignores them."""

    def fit(self, codes: Tensor) -> None: ...

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Draw codes of shape (N, D)."""
        ...


@runtime_checkable
class ClassSampler(Sampler, Protocol):
    """A sampler whose codes name a class, drawn as often as among the training labels (N,)."""

    def fit_classes(self, labels: Tensor) -> None: ...


class Task(ABC):
    """A question with an answer in numbers and pictures: `tasks/` has one a file, as dataclasses.

    The fields are the settings, read from configs/tasks/<name>.yaml.
    """

    @abstractmethod
    def run(self, context: Any) -> Any:
        """tasks.Context → findings.Finding."""


def weighted_means(rows: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
    """Means over images from what steps return: (batch size, {quantity: mean over that batch})."""
    if not rows:
        return {}
    total = sum(count for count, _ in rows)
    return {
        name: sum(count * float(row[name]) for count, row in rows) / total for name in rows[0][1]
    }
