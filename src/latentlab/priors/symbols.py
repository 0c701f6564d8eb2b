"""Densities over discrete codes: S symbols of K kinds, whole numbers in a float (N, S).

    p(s) = Π_t p(s_t)                     independent: each place has its own frequencies
    p(s) = Π_t p(s_t | s_1 … s_{t−1})     autoregressive

van den Oord et al. 2017, "Neural discrete representation learning", section 3: while a VQ-VAE
trains, its prior is uniform; afterwards an autoregressive one is fitted to the codes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.priors.base import Prior, device_of
from latentlab.priors.learning import check_learning, learn, seeded


class IndependentSymbols(Prior):
    """Each place draws from its own frequencies, whatever stands elsewhere."""

    frequencies: Tensor  # (S, K)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.empty(0, 0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "frequencies" in state_dict:
            self.frequencies = torch.empty_like(state_dict[prefix + "frequencies"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        symbols = _symbols(codes)
        self.frequencies = F.one_hot(symbols, int(symbols.max()) + 1).float().mean(0)

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        _check(shape, len(self.frequencies), self)
        odds = self.frequencies.to(device_of(generator))
        drawn = torch.multinomial(odds, shape[0], replacement=True, generator=generator)  # (S, N)
        return drawn.T.float()


class AutoregressiveSymbols(Prior):
    """A recurrent network (GRU) that reads the symbols row by row and says what may follow.

    At place t it sees symbol t − 1, the symbol above where the places form a square, and t itself.
    `steps` batches of `batch_size` codes drawn by `seed`; `lr`: Adam's rate, falling linearly to 0.
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
        check_learning(hidden=hidden, steps=steps, batch_size=batch_size, lr=lr)
        self.hidden, self.seed = hidden, seed
        self.settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
        self._build(0, 0)

    def _build(self, places: int, kinds: int) -> None:
        self.places, self.kinds = places, kinds
        side = math.isqrt(places)
        self.above = side if side * side == places else 1  # how far back the upper neighbour is
        width = self.hidden // 2 + 1
        self.left = nn.Embedding(kinds + 1, width)  # the last one: outside
        self.upper = nn.Embedding(kinds + 1, width)
        self.place = nn.Embedding(max(places, 1), width)
        self.gru = nn.GRU(width, self.hidden, batch_first=True)
        self.head = nn.Linear(self.hidden, max(kinds, 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "head.weight" in state_dict:
            kinds, places = (
                len(state_dict[prefix + name]) for name in ("left.weight", "place.weight")
            )
            self._build(places, kinds - 1)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        """Maximise the likelihood of codes (N, S); the same weights for the same codes and seed."""
        with seeded(self.seed):
            symbols = _symbols(codes.detach().cpu()).clone()
            self._build(symbols.shape[1], int(symbols.max()) + 1)
            learn(self, self._loss, symbols, clip=1.0, **self.settings)

    def _loss(self, symbols: Tensor) -> Tensor:
        return -self.log_prob(symbols).mean() / self.places

    def log_prob(self, codes: Tensor) -> Tensor:
        """log p(s) of codes (N, S), nats, (N,)."""
        symbols = _symbols(codes)
        inputs = self.left(self._before(symbols, 1)) + self.upper(self._before(symbols, self.above))
        states, _ = self.gru(inputs + self.place.weight)
        chosen = self.head(states).log_softmax(2).gather(2, symbols[:, :, None])
        return chosen.squeeze(2).sum(1)

    def _before(self, symbols: Tensor, distance: int) -> Tensor:
        """The symbol `distance` places earlier, or the one that means outside."""
        return F.pad(symbols, (distance, 0), value=self.kinds)[:, : symbols.shape[1]]

    @torch.no_grad()
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """One place after the other, each from what stands before it."""
        _check(shape, self.places, self)
        device = self.head.weight.device
        drawn = torch.full(shape, self.kinds, device=device)
        outside, state = drawn[:, 0].clone(), None
        for t in range(self.places):
            left = drawn[:, t - 1] if t else outside
            upper = drawn[:, t - self.above] if t >= self.above else outside
            inputs = self.left(left) + self.upper(upper) + self.place.weight[t]
            output, state = self.gru(inputs[:, None], state)
            odds = self.head(output[:, 0]).softmax(1).to(device_of(generator))
            drawn[:, t] = torch.multinomial(odds, 1, generator=generator)[:, 0].to(device)
        return drawn.float()


def _symbols(codes: Tensor) -> Tensor:
    """Codes (N, S) → whole numbers. Raises ValueError for what are none."""
    symbols = codes.round().long()
    if not torch.equal(symbols.to(codes.dtype), codes) or (symbols < 0).any():
        raise ValueError(
            "the codes are no symbols: this sampler is for discrete codes such as"
            " a VQ-VAE's; take latentlab.priors.FittedMixture"
        )
    return symbols


def _check(shape: tuple[int, int], places: int, sampler: Prior) -> None:
    if shape[1] != places:
        raise ValueError(
            f"asked for {shape[1]} symbols from a {type(sampler).__name__} fitted to {places}"
        )
