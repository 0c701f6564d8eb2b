"""A second VAE, trained on the codes of the first, samples the codes of the first.

    z ~ N(f(u), γ² I),  u ~ N(0, I)        loss = E_q(u|z)[−log N(z; f(u), γ² I)] + KL(q(u|z) ‖ N)

Dai & Wipf 2019, "Diagnosing and enhancing VAE models", section 4. The first VAE learns the manifold
of the images; its codes need not have the distribution N(0, I). The second VAE learns their
distribution. Its code u has as many units as z. Here it is trained on the posterior means of the
first VAE, shifted to mean 0. One scale is used for all units, so that units with little
information stay small.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.contracts import CodePart
from latentlab.losses.variational import kl_standard_normal, reparameterize
from latentlab.samplers.fixed import Prior, device_of
from latentlab.samplers.projection import shrink, typical_radius
from latentlab.samplers.training import check_settings, minimize, training_mode

INITIAL_LOG_SCALE = math.log(0.1)  # of γ; with 1, the posterior of u would collapse at first


class TwoStageVAE(Prior):
    """`hidden`: width of the two layers. `steps` batches of `batch_size` codes, sampled by `seed`.

    `lr`: Adam's learning rate, decays linearly to 0.
    """

    mean: Tensor  # (D,)
    scale: Tensor  # (), root of the mean variance of the codes

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
        check_settings(hidden=hidden, steps=steps, batch_size=batch_size, lr=lr)
        self.hidden, self.seed = hidden, seed
        self.settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
        self._build(0)

    def _build(self, dim: int) -> None:
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_LOG_SCALE))
        self.encoder = self._network(dim, 2 * dim)
        self.decoder = self._network(dim, dim)

    def _network(self, fan_in: int, fan_out: int) -> nn.Module:
        if not fan_in:  # not fitted yet
            return nn.Identity()
        first, second = nn.Linear(fan_in, self.hidden), nn.Linear(self.hidden, self.hidden)
        return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), nn.Linear(self.hidden, fan_out))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "mean" in state_dict:
            self._build(len(state_dict[prefix + "mean"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        """Train the second VAE on codes (N, D); the same weights for the same codes and seed."""
        with training_mode(self.seed):
            codes = codes.detach().cpu().float().clone()
            self._build(codes.shape[1])
            self.mean = codes.mean(0)
            self.scale = codes.var(0).mean().sqrt().clamp_min(1e-6)
            scaled = (codes - self.mean) / self.scale
            minimize(self, lambda z: self.negative_elbo(z).mean(), scaled, **self.settings)

    def negative_elbo(self, z: Tensor) -> Tensor:
        """An upper bound of −log p(z) of scaled codes (B, D), from one sample of u, nats, (B,)."""
        mu, logvar = self.encoder(z).chunk(2, dim=1)
        error = (z - self.decoder(reparameterize(mu, logvar))) * torch.exp(-self.log_scale)
        nll = (0.5 * error.square() + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(1)
        return nll + kl_standard_normal(mu, logvar)

    @torch.no_grad()
    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Sample u from N(0, I), then z from N(f(u), γ² I). Raises ValueError if not fitted."""
        if self.mean.shape != shape[1:]:
            raise ValueError(
                f"asked for codes of {shape[1]} values from a TwoStageVAE that is fitted to codes"
                f" of {len(self.mean)}"
            )
        device = self.mean.device
        u, eps = torch.randn(2, *shape, generator=generator, device=device_of(generator)).to(device)
        scaled = self.decoder(u) + self.log_scale.exp() * eps
        return self.mean + self.scale * scaled

    def parts(self, dim: int) -> tuple[CodePart, ...]:
        return (CodePart("fitted", dim),)

    def project(self, z: Tensor) -> Tensor:
        """Codes (N, D) → mean + scale · (f(u) + γ ε) with u and ε inside their 99 % norm.

        u is the posterior mean of z, and ε is the rest. So z does not change if both are inside.
        """
        scaled = (z.to(self.mean) - self.mean) / self.scale
        radius, gamma = typical_radius(z.shape[1]), self.log_scale.exp()
        u = shrink(self.encoder(scaled)[:, : z.shape[1]], radius)
        centre = self.decoder(u)
        eps = shrink((scaled - centre) / gamma, radius)
        return (self.mean + self.scale * (centre + gamma * eps)).to(z)
