"""Annealed importance sampling (AIS): log p(x) of a decoder from both sides.

    f_t(z) = p(z) p(x|z)^β_t,   0 = β_0 < … < β_T = 1,   p(z) = N(0, I)
    w      = Π_t p(x|z_t)^(β_t − β_{t−1}),   z_1 ~ p(z),   z_{t+1} ~ transition that keeps f_t

E[w] = p(x), so the log of a mean of w is a lower bound of log p(x) in expectation. Importance
sampling from an encoder has one step from q(z|x) to p(z|x). AIS has T small ones, and needs no
encoder. The same chain backwards, from an exact sample of p(z|x), has E[1/w] = 1/p(x): an upper
bound. Such a sample is known for images that the model drew: their code. On these images the
distance of both bounds is the error of AIS (bidirectional Monte Carlo).

The transitions are Hamiltonian Monte Carlo. A pilot run chooses the step size of each temperature.
After it the step sizes are fixed: a transition that adapts would not keep f_t.

Neal 2001, "Annealed importance sampling". Grosse et al. 2015, "Sandwiching the marginal likelihood
using bidirectional Monte Carlo" (sigmoid schedule). Wu et al. 2017, "On the quantitative analysis
of decoder-based generative models".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from latentlab.losses.pixel_likelihood import PixelLikelihood

LogLikelihood = Callable[[Tensor, Tensor], Tensor]  # x (B, …), z (B, D) → log p(x|z), nats, (B,)
SHARPNESS = 4.0  # of the sigmoid schedule
ACCEPTANCE = 0.8  # fraction of accepted proposals that the pilot aims at
JITTER = 0.2  # of the step size
ADAPTATION, FIRST_STEP_SIZE = 0.2, 0.3  # of the pilot


@runtime_checkable
class GaussianLatentModel(Protocol):
    """A decoder with a pixel likelihood and the prior N(0, I): VAE and IWAE."""

    latent_dim: int
    decoder: nn.Module
    likelihood: PixelLikelihood
    standard_normal_prior: bool


@dataclass(frozen=True)
class AIS:
    """`log_px_given_z` with its schedule.

    `temperatures`: β_1 … β_T. `step_sizes` (T − 1,): of the transitions at β_1 … β_{T−1}.
    `num_chains`: of each image. `leapfrog_steps`: of one transition, one gradient each.
    """

    log_px_given_z: LogLikelihood
    latent_dim: int
    temperatures: Sequence[float]
    step_sizes: Sequence[float]
    num_chains: int = 16
    leapfrog_steps: int = 10

    def lower_bound(self, x: Tensor, *, seed: int) -> Tensor:
        """log of the mean of w over the chains, nats, float64 (N,), of images x (N, …)."""
        generator = torch.Generator().manual_seed(seed)
        x = x.repeat_interleave(self.num_chains, 0)
        chain = _Chain(self, x, torch.randn(len(x), self.latent_dim, generator=generator))
        log_w = torch.zeros(len(x), dtype=torch.float64)
        before = [0.0, *self.temperatures[:-1]]
        for t, (low, high) in enumerate(zip(before, self.temperatures, strict=True)):
            log_w += (high - low) * chain.log_px.double()
            if t < len(self.step_sizes):
                chain.transition(high, self.step_sizes[t], generator)
        return _log_mean(log_w.view(-1, self.num_chains))

    def upper_bound(self, x: Tensor, z: Tensor, *, seed: int) -> Tensor:
        """−log of the mean of 1/w over the chains, nats, float64 (N,).

        `z` (N, D): one exact sample of p(z|x) for each image, such as the code that made it. `seed`
        must not be the one of z: equal noise would make the first transition depend on z.
        """
        generator = torch.Generator().manual_seed(seed)
        x, z = (values.repeat_interleave(self.num_chains, 0) for values in (x, z))
        chain = _Chain(self, x, z)
        log_w = torch.zeros(len(x), dtype=torch.float64)
        before = [0.0, *self.temperatures[:-1]]
        for t in reversed(range(len(self.temperatures))):
            log_w += (self.temperatures[t] - before[t]) * chain.log_px.double()
            if t > 0:
                chain.transition(before[t], self.step_sizes[t - 1], generator)
        return -_log_mean(-log_w.view(-1, self.num_chains))


def schedule(num_temperatures: int) -> list[float]:
    """β_1 … β_T on a sigmoid, denser near 0 and 1 (Grosse et al. 2015, section 6.1)."""
    t = torch.linspace(-SHARPNESS, SHARPNESS, num_temperatures + 1, dtype=torch.float64).sigmoid()
    return [float(beta) for beta in ((t - t[0]) / (t[-1] - t[0]))[1:]]


def make_ais(
    log_px_given_z: LogLikelihood,
    x: Tensor,
    *,
    latent_dim: int,
    num_temperatures: int,
    num_chains: int = 16,
    leapfrog_steps: int = 10,
    seed: int = 0,
) -> AIS:
    """Choose the step sizes by a pilot run with one chain for each image of x (N, …).

    After each transition the step size is multiplied by exp(0.2 (a − 0.8)), a the fraction of
    accepted proposals. Raises ValueError for fewer than one temperature, chain or leapfrog step.
    """
    if min(num_temperatures, num_chains, leapfrog_steps) < 1:
        raise ValueError(
            f"{num_temperatures} temperatures, {num_chains} chains and {leapfrog_steps} leapfrog"
            " steps: each must be 1 or more"
        )
    betas = schedule(num_temperatures)
    start = AIS(log_px_given_z, latent_dim, betas, [], num_chains, leapfrog_steps)
    generator = torch.Generator().manual_seed(seed)
    chain = _Chain(start, x, torch.randn(len(x), latent_dim, generator=generator))
    sizes, size = [], FIRST_STEP_SIZE
    for beta in betas[:-1]:
        sizes.append(size)
        accepted = chain.transition(beta, size, generator)
        size *= math.exp(ADAPTATION * (accepted - ACCEPTANCE))
    return AIS(log_px_given_z, latent_dim, betas, sizes, num_chains, leapfrog_steps)


def log_likelihood_of(model: GaussianLatentModel) -> LogLikelihood:
    """log p(x|z) of a VAE or an IWAE."""

    def log_px_given_z(x: Tensor, z: Tensor) -> Tensor:
        return -model.likelihood.nll(model.decoder(z), x)

    return log_px_given_z


@torch.no_grad()
def simulate(model: GaussianLatentModel, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) that the model draws, pixel noise included, and their codes (N, D)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        z = torch.randn(count, model.latent_dim)
        return model.likelihood.sample(model.decoder(z)), z


class _Chain:
    """Codes z (B, D) of images x, with log p(x|z) and its gradient, which the next step needs."""

    def __init__(self, ais: AIS, x: Tensor, z: Tensor) -> None:
        self.ais, self.x = ais, x
        self.z = z
        self.log_px, self.gradient = self._evaluate(z)

    def _evaluate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            z = z.detach().clone().requires_grad_()
            log_px = self.ais.log_px_given_z(self.x, z)
            (gradient,) = torch.autograd.grad(log_px.sum(), z)
        return log_px.detach(), gradient

    def transition(self, beta: float, size: float, generator: torch.Generator) -> float:
        """One step of Hamiltonian Monte Carlo that keeps f(z) = N(z; 0, I) p(x|z)^beta.

        The step size of each chain is random, `size` ± 20 %. A fixed one can return to its start
        each time. Return the fraction of accepted proposals (Neal 2011, "MCMC using Hamiltonian
        dynamics", sections 3.2 and 4.2).
        """
        v = torch.randn(self.z.shape, generator=generator)
        uniform, factor = torch.rand(2, len(v), generator=generator)
        step = size * (1 + JITTER * (2 * factor - 1))[:, None]
        before = self._energy(self.z, self.log_px, v, beta)
        z, log_px, gradient = self.z, self.log_px, self.gradient
        for _ in range(self.ais.leapfrog_steps):
            v = v + step / 2 * (beta * gradient - z)
            z = z + step * v
            log_px, gradient = self._evaluate(z)
            v = v + step / 2 * (beta * gradient - z)
        accept = uniform.log() < before - self._energy(z, log_px, v, beta)  # False for NaN
        self.z = torch.where(accept[:, None], z, self.z)
        self.gradient = torch.where(accept[:, None], gradient, self.gradient)
        self.log_px = torch.where(accept, log_px, self.log_px)
        return accept.double().mean().item()

    @staticmethod
    def _energy(z: Tensor, log_px: Tensor, v: Tensor, beta: float) -> Tensor:
        return 0.5 * (z.square() + v.square()).sum(1) - beta * log_px


def _log_mean(log_values: Tensor) -> Tensor:
    """log of the mean of values (N, C) over C, (N,)."""
    return log_values.logsumexp(1) - math.log(log_values.shape[1])
