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

RADIUS = 4  # of the masked convolution
WINDOW = 2 * RADIUS * (RADIUS + 1)  # the positions that it sees
EMBEDDING_DIM = 8  # of an index


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
    """A network predicts each index from its neighbours among the indices before it, row by row.

    The network is a PixelCNN (van den Oord et al. 2016, arXiv:1601.06759): one masked 9 × 9
    convolution, which sees four rows above and four positions to the left, then 1 × 1 convolutions.
    Each position has a bias of its own. Indices that form no square are a sequence: each is
    predicted from the 40 before it.

    `hidden`: channels. `steps` batches of `batch_size` codes, sampled by `seed`. `lr`: Adam's
    learning rate, decays linearly to 0.
    """

    neighbours: Tensor  # (T, M), int64; T is a position outside the grid

    def __init__(
        self,
        *,
        hidden: int = 96,
        steps: int = 500,
        batch_size: int = 64,
        lr: float = 1.5e-2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_settings(hidden=hidden, steps=steps, batch_size=batch_size, lr=lr)
        self.hidden, self.seed = hidden, seed
        self.settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
        self._build(0, 0)

    def _build(self, length: int, codebook_size: int) -> None:
        self.length, self.codebook_size = length, codebook_size  # T and K
        self.register_buffer("neighbours", positions_before(length), persistent=False)
        # the last vector stands for a position outside the grid
        self.embedding = nn.Embedding(codebook_size + 1, EMBEDDING_DIM)
        self.masked = nn.Linear(WINDOW * EMBEDDING_DIM, self.hidden, bias=False)
        self.position = nn.Parameter(torch.zeros(length, self.hidden))
        self.pointwise = nn.Linear(self.hidden, self.hidden)
        self.head = nn.Linear(self.hidden, max(codebook_size, 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        names = [prefix + name for name in ("position", "embedding.weight")]
        if all(name in state_dict for name in names):
            length, embeddings = (len(state_dict[name]) for name in names)
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
        logits = self._logits(self._with_outside(indices), slice(None))  # (N, T, K)
        return -F.cross_entropy(logits.movedim(2, 1), indices, reduction="none").sum(1)

    def _with_outside(self, indices: Tensor) -> Tensor:
        """Indices (N, T) → (N, T + 1), with K at position T, outside the grid."""
        return F.pad(indices, (0, 1), value=self.codebook_size)

    def _logits(self, indices: Tensor, positions: slice) -> Tensor:
        """Indices (N, T + 1) → the logits of the indices at P positions, (N, P, K)."""
        before = indices[:, self.neighbours[positions]]  # (N, P, M)
        hidden = F.silu(self.masked(self.embedding(before).flatten(2)) + self.position[positions])
        return self.head(hidden + F.silu(self.pointwise(hidden)))

    @torch.no_grad()
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Sample the indices one position after the other, each given the ones before it."""
        _check_length(shape[1], self.length, self)
        device = self.head.weight.device
        indices = self._with_outside(torch.zeros(shape, dtype=torch.long, device=device))
        for t in range(self.length):
            p = self._logits(indices, slice(t, t + 1))[:, 0].softmax(1).to(device_of(generator))
            indices[:, t] = torch.multinomial(p, 1, generator=generator)[:, 0].to(device)
        return indices[:, :-1].float()

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("indices", dim),)

    def project(self, z: Tensor) -> Tensor:
        return nearest_indices(z, self.codebook_size)


def positions_before(length: int) -> Tensor:
    """The WINDOW neighbours of each position among the positions before it, (T, WINDOW), int64.

    In a square, row by row: RADIUS rows above, and RADIUS positions to the left. In a sequence:
    the WINDOW positions before. `length` stands for a position outside.
    """
    side = math.isqrt(length)
    if side * side != length:
        before = torch.arange(length)[:, None] - torch.arange(1, WINDOW + 1)
        return torch.where(before >= 0, before, length)
    around = range(-RADIUS, RADIUS + 1)
    offsets = [(dy, dx) for dy in range(-RADIUS, 1) for dx in around if (dy, dx) < (0, 0)]
    rows, columns = (torch.tensor(offset)[None] for offset in zip(*offsets, strict=True))
    y = torch.arange(side).repeat_interleave(side)[:, None] + rows
    x = torch.arange(side).repeat(side)[:, None] + columns
    return torch.where((y >= 0) & (x >= 0) & (x < side), y * side + x, length)


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
