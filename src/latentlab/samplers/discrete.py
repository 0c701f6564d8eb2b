"""Densities over discrete codes: T indices below K, as whole numbers in a float tensor (N, T).

    p(i) = Π_t p(i_t)                     independent: each position has its own frequencies
    p(i) = Π_t p(i_t | i_1 … i_{t−1})     autoregressive

van den Oord et al. 2017, "Neural discrete representation learning", section 3: the prior is uniform
while a VQ-VAE is trained. Afterwards an autoregressive prior is fitted to its codes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import CodePart
from latentlab.samplers.fixed import Prior, device_of
from latentlab.samplers.training import check_settings, minimize, training_mode


class IndependentCategorical(Prior):
    """Each index is sampled from the frequencies of its position, independently of the others."""

    frequencies: Tensor  # (T, K)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.empty(0, 0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "frequencies" in state_dict:
            self.frequencies = torch.empty_like(state_dict[prefix + "frequencies"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        indices = to_indices(codes)
        self.frequencies = F.one_hot(indices, int(indices.max()) + 1).float().mean(0)

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        _check_length(shape[1], len(self.frequencies), self)
        p = self.frequencies.to(device_of(generator))
        indices = torch.multinomial(p, shape[0], replacement=True, generator=generator)  # (T, N)
        return indices.T.float()

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("indices", dim),)

    def project(self, z: Tensor) -> Tensor:
        return nearest_indices(z, self.frequencies.shape[1])


class AutoregressivePrior(Prior):
    """A recurrent network (GRU) predicts each index from the indices before it, row by row.

    Its inputs at position t: index t − 1, the index above if the positions form a square, and t.
    `hidden`: units of the GRU. `steps` batches of `batch_size` codes, sampled by `seed`. `lr`:
    Adam's learning rate, decays linearly to 0.
    """

    def __init__(
        self,
        *,
        hidden: int = 128,
        steps: int = 1000,
        batch_size: int = 64,
        lr: float = 4e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_settings(hidden=hidden, steps=steps, batch_size=batch_size, lr=lr)
        self.hidden, self.seed = hidden, seed
        self.settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
        self._build(0, 0)

    def _build(self, length: int, codebook_size: int) -> None:
        self.length, self.codebook_size = length, codebook_size  # T and K
        side = math.isqrt(length)
        self.row_length = side if side * side == length else 1  # distance to the index above
        width = self.hidden // 2 + 1
        self.left = nn.Embedding(codebook_size + 1, width)  # the last one: outside the grid
        self.above = nn.Embedding(codebook_size + 1, width)
        self.position = nn.Embedding(max(length, 1), width)
        self.gru = nn.GRU(width, self.hidden, batch_first=True)
        self.head = nn.Linear(self.hidden, max(codebook_size, 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "head.weight" in state_dict:
            embeddings, length = (
                len(state_dict[prefix + name]) for name in ("left.weight", "position.weight")
            )
            self._build(length, embeddings - 1)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        """Maximize the likelihood of codes (N, T). Equal codes and seed give equal weights."""
        with training_mode(self.seed):
            indices = to_indices(codes.detach().cpu()).clone()
            self._build(indices.shape[1], int(indices.max()) + 1)
            minimize(self, self._loss, indices, max_grad_norm=1.0, **self.settings)

    def _loss(self, indices: Tensor) -> Tensor:
        return -self.log_prob(indices).mean() / self.length

    def log_prob(self, codes: Tensor) -> Tensor:
        """log p(i) of codes (N, T), nats, (N,)."""
        indices = to_indices(codes)
        left, above = (self._previous(indices, distance) for distance in (1, self.row_length))
        states, _ = self.gru(self.left(left) + self.above(above) + self.position.weight)
        log_p = self.head(states).log_softmax(2).gather(2, indices[:, :, None])  # (N, T, 1)
        return log_p.squeeze(2).sum(1)

    def _previous(self, indices: Tensor, distance: int) -> Tensor:
        """The index `distance` positions before each, or K outside the grid, (N, T)."""
        padded = F.pad(indices, (distance, 0), value=self.codebook_size)
        return padded[:, : indices.shape[1]]

    @torch.no_grad()
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Sample the indices one position after the other, each given the ones before it."""
        _check_length(shape[1], self.length, self)
        device = self.head.weight.device
        indices = torch.full(shape, self.codebook_size, device=device)
        outside, state = indices[:, 0].clone(), None
        for t in range(self.length):
            left = indices[:, t - 1] if t else outside
            above = indices[:, t - self.row_length] if t >= self.row_length else outside
            inputs = self.left(left) + self.above(above) + self.position.weight[t]
            output, state = self.gru(inputs[:, None], state)
            p = self.head(output[:, 0]).softmax(1).to(device_of(generator))
            indices[:, t] = torch.multinomial(p, 1, generator=generator)[:, 0].to(device)
        return indices.float()

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("indices", dim),)

    def project(self, z: Tensor) -> Tensor:
        return nearest_indices(z, self.codebook_size)


def nearest_indices(z: Tensor, codebook_size: int) -> Tensor:
    """Codes (N, T) rounded to whole numbers 0 … K − 1, as floats."""
    return z.round().clamp(0, codebook_size - 1)


def to_indices(codes: Tensor) -> Tensor:
    """Codes (N, T) → int64. Raises ValueError for values that are no whole numbers ≥ 0."""
    indices = codes.round().long()
    if not torch.equal(indices.to(codes.dtype), codes) or (indices < 0).any():
        raise ValueError(
            "the codes are not indices 0, 1, 2, …: this sampler is for discrete codes, such as a"
            " VQ-VAE's. Choose latentlab.samplers.FittedMixture"
        )
    return indices


def _check_length(length: int, fitted: int, sampler: Prior) -> None:
    if length != fitted:
        raise ValueError(
            f"asked for {length} indices from a {type(sampler).__name__} that is fitted to codes"
            f" of {fitted}"
        )
