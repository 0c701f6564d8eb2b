"""A second VAE on the codes of the first: it learns the density that the first left unfitted.

    z ~ N(f(u), γ² I),  u ~ N(0, I)        loss = E_q(u|z)[−log N(z; f(u), γ² I)] + KL(q(u|z) ‖ N)

Dai & Wipf 2019, "Diagnosing and enhancing VAE models", section 4: the first VAE finds the manifold,
where its codes lie; the second, whose codes are as many numbers as they describe, finds how they
are spread along it. Here it is trained on the means of the first posterior, shifted to 0
and scaled as a whole, so that units that carry little stay small.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.priors.base import Prior, device_of
from latentlab.priors.learning import check_learning, learn, seeded

START = math.log(0.1)  # of γ: from 1, the codes of the second VAE would first fall into disuse


class TwoStage(Prior):
    """`hidden` units in each of two layers; `steps` batches of `batch_size` codes drawn by `seed`.

    `lr`: Adam's rate, falling linearly to 0.
    """

    mean: Tensor  # (D,)
    spread: Tensor  # (), root of the codes' mean variance

    def __init__(
        self,
        *,
        hidden: int = 256,
        steps: int = 2000,
        batch_size: int = 256,
        lr: float = 4e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_learning(hidden=hidden, steps=steps, batch_size=batch_size, lr=lr)
        self.hidden, self.seed = hidden, seed
        self.settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
        self._build(0)

    def _build(self, dim: int) -> None:
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(()))
        self.log_scale = nn.Parameter(torch.tensor(START))
        self.encoder = self._network(dim, 2 * dim)
        self.decoder = self._network(dim, dim)

    def _network(self, fan_in: int, fan_out: int) -> nn.Module:
        if not fan_in:  # unfitted: there is nothing yet
            return nn.Identity()
        sizes, silu = (fan_in, self.hidden, self.hidden), nn.SiLU
        first, second = nn.Linear(*sizes[:2]), nn.Linear(*sizes[1:])
        return nn.Sequential(first, silu(), second, silu(), nn.Linear(self.hidden, fan_out))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "mean" in state_dict:
            self._build(len(state_dict[prefix + "mean"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        """Train the second VAE on codes (N, D); the same weights for the same codes and seed."""
        with seeded(self.seed):
            codes = codes.detach().cpu().float().clone()
            self._build(codes.shape[1])
            self.mean = codes.mean(0)
            self.spread = codes.var(0).mean().sqrt().clamp_min(1e-6)
            scaled = (codes - self.mean) / self.spread
            learn(self, lambda z: self.negative_elbo(z).mean(), scaled, **self.settings)

    def negative_elbo(self, z: Tensor) -> Tensor:
        """An upper bound of −log p(z) of scaled codes (B, D), one draw, nats, (B,)."""
        mu, logvar = self.encoder(z).chunk(2, dim=1)
        u = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        error = (z - self.decoder(u)) * torch.exp(-self.log_scale)
        nll = (0.5 * error.square() + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(1)
        return nll - 0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)

    @torch.no_grad()
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Ancestral: u from N(0, I), then z from N(f(u), γ² I). Raises ValueError if unfitted."""
        if self.mean.shape != shape[1:]:
            raise ValueError(f"asked for {shape[1]}-d codes from a TwoStage of {len(self.mean)}-d")
        place = self.mean.device
        u, eps = torch.randn(2, *shape, generator=generator, device=device_of(generator)).to(place)
        scaled = self.decoder(u) + self.log_scale.exp() * eps
        return self.mean + self.spread * scaled
