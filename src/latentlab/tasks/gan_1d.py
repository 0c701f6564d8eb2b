"""A GAN in one dimension, where the optimal discriminator is known.

    D*(x) = p_data(x) / (p_data(x) + p_g(x))            V(D*, G) = −log 4 + 2 JSD(p_data ‖ p_g)

Data are N(mean, std²). The generator is G(z) = a z + b with z ~ N(0, 1), so p_g is N(b, a²) and D*
is known at every step. The task compares the trained discriminator D with D*.

Goodfellow et al. 2014, "Generative adversarial nets", proposition 1 and theorem 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentlab.contracts import Task
from latentlab.evaluation.results import Figure, Result
from latentlab.losses.adversarial import make_adversarial_losses
from latentlab.networks.mlp import mlp
from latentlab.optim.adam import adam, linear_decay
from latentlab.optim.adversarial import gradient_step
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import seeded
from latentlab.tasks.common.requirements import require_at_least
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.panels import DensityPanel, save_densities

GRID_MARGIN = 8  # the grid ends this many standard deviations beyond the data and the start
POINTS_PER_STD = 100
MAX_GRID_POINTS = 1_000_000
SUMMARY = (
    "The density of the generator moves to the density of the data, and the value V(D, G) of the"
    " discriminator approaches −log 4 = {:.3f}, its value for equal densities. D* is the optimal"
    " discriminator for the densities at this step, and optimal_value its value. d_error is the"
    " mean of |D − D*| over (p_data + p_g) / 2; 0 means that D is optimal."
)


class Affine(nn.Module):
    """z (B, 1) → a z + b."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, z: Tensor) -> Tensor:
        return self.a * z + self.b

    def density(self) -> Normal:
        """The distribution of the output for z ~ N(0, 1)."""
        return Normal(float(self.b.detach()), max(abs(float(self.a.detach())), 1e-6))


@dataclass(frozen=True)
class Snapshot:
    """State after `step` steps of the generator: p_g, and the logits of D at the points x (N,)."""

    step: int
    p_g: Normal
    x: Tensor
    logits: Tensor


@dataclass(frozen=True)
class GAN1D(Task):
    """Data are N(`mean`, `std`²), the generator starts at N(`start`, 1).

    The generator makes `steps` steps of Adam; the discriminator, an MLP with two hidden layers,
    makes `discriminator_steps` steps before each of them. The learning rate falls from `lr` to 0.
    `num_frames` snapshots are plotted. Integrals are computed on a grid: its margin is 8 times the
    larger of `std` and 1, its step is the smaller of the two divided by 100, and it has at most a
    million points.
    """

    mean: float = 2.0
    std: float = 0.5
    start: float = -2.0
    steps: int = 800
    discriminator_steps: int = 3
    batch_size: int = 256
    lr: float = 1e-2
    num_frames: int = 6

    def __post_init__(self) -> None:
        require_at_least(1, self, "steps", "discriminator_steps", "batch_size")
        require_at_least(2, self, "num_frames")
        if self.std <= 0:
            raise LatentlabError(f"std is {self.std}: a standard deviation must be > 0")
        low, high, step = self._extent()
        if not high - low < MAX_GRID_POINTS * step:  # also True for NaN
            raise LatentlabError(
                f"mean {self.mean}, start {self.start} and std {self.std} need a grid of more than"
                f" {MAX_GRID_POINTS:,} points: choose mean and start nearer to each other, or std"
                " nearer to 1"
            )

    def grid(self) -> Tensor:
        """Points (N,), float64, that cover the data, the first generator and all between them."""
        low, high, step = self._extent()
        return torch.linspace(low, high, round((high - low) / step) + 1, dtype=torch.float64)

    def _extent(self) -> tuple[float, float, float]:
        """The ends of the grid, and its step."""
        margin = GRID_MARGIN * max(self.std, 1.0)
        step = min(self.std, 1.0) / POINTS_PER_STD
        return min(self.mean, self.start) - margin, max(self.mean, self.start) + margin, step

    def run(self, context: Context) -> Result:
        with seeded(context.seed):
            snapshots = self.train()
        p_data = Normal(self.mean, self.std)
        table = {f"step {each.step}": measure(each, p_data) for each in snapshots}
        last = table[f"step {snapshots[-1].step}"]
        panels = make_panels(snapshots, p_data, self._plot_range())
        caption = "Densities of the data and of the generator, and the discriminators D and D*"
        return Result(
            title="GAN in one dimension",
            summary=SUMMARY.format(-math.log(4)),
            metrics={f"final_{key}": value for key, value in last.items()},
            table=table,
            figures=[Figure("frames", caption, partial(save_densities, panels))],
        )

    def _plot_range(self) -> tuple[float, float]:
        """6 standard deviations of the data, and 3 of the generator at the start."""
        low = min(self.mean - 6 * self.std, self.start - 3)
        return low, max(self.mean + 6 * self.std, self.start + 3)

    def train(self) -> list[Snapshot]:
        """Train on samples. Snapshots are dense at the beginning and sparse at the end."""
        generator, discriminator = Affine(1.0, self.start), mlp([1, 32, 32, 1], activation="tanh")
        d_loss, g_loss = make_adversarial_losses("non_saturating")
        opt_g = adam(generator.parameters(), self.lr, betas=(0.5, 0.99))
        opt_d = adam(discriminator.parameters(), self.lr, betas=(0.5, 0.99))
        schedules = [linear_decay(opt_g, self.steps), linear_decay(opt_d, self.steps)]
        last = self.num_frames - 1
        snapshot_steps = {round(self.steps * (i / last) ** 2) for i in range(self.num_frames)}
        snapshots, grid = [], self.grid()
        for step in range(self.steps + 1):
            for _ in range(self.discriminator_steps):
                x = self.mean + self.std * torch.randn(self.batch_size, 1)
                x_fake = generator(torch.randn(self.batch_size, 1)).detach()
                gradient_step(opt_d, d_loss(discriminator(x), discriminator(x_fake)))
            if step in snapshot_steps:
                snapshots.append(_snapshot(step, generator, discriminator, grid))
            if step < self.steps:
                x_fake = generator(torch.randn(self.batch_size, 1))
                gradient_step(opt_g, g_loss(discriminator(x_fake)))
                for schedule in schedules:
                    schedule.step()
        return snapshots


@torch.no_grad()
def _snapshot(step: int, generator: Affine, discriminator: nn.Module, x: Tensor) -> Snapshot:
    logits = discriminator(x[:, None].float())[:, 0].double()
    return Snapshot(step, generator.density(), x, logits)


def optimal_logits(x: Tensor, p_data: Normal, p_g: Normal) -> Tensor:
    """σ⁻¹(D*) = log p_data − log p_g at the points x (N,)."""
    return p_data.log_prob(x) - p_g.log_prob(x)


def value(x: Tensor, logits: Tensor, p_data: Normal, p_g: Normal) -> float:
    """V(D, G) = E_data log D + E_g log(1 − D), by the trapezoidal rule on the points x (N,)."""
    real = p_data.log_prob(x).exp() * nn.functional.logsigmoid(logits)
    fake = p_g.log_prob(x).exp() * nn.functional.logsigmoid(-logits)
    return float(torch.trapezoid(real + fake, x))


def measure(snapshot: Snapshot, p_data: Normal) -> dict[str, float]:
    """Mean and std of p_g, the values of D and D*, and the mean distance of D from D*."""
    x, p_g = snapshot.x, snapshot.p_g
    optimal = optimal_logits(x, p_data, p_g)
    mixture = (p_data.log_prob(x).exp() + p_g.log_prob(x).exp()) / 2
    error = (snapshot.logits.sigmoid() - optimal.sigmoid()).abs()
    return {
        "generator_mean": float(p_g.mean),
        "generator_std": float(p_g.stddev),
        "value": value(x, snapshot.logits, p_data, p_g),
        "optimal_value": value(x, optimal, p_data, p_g),
        "d_error": float(torch.trapezoid(mixture * error, x)),
    }


def make_panels(
    snapshots: Sequence[Snapshot], p_data: Normal, plot_range: tuple[float, float]
) -> list[DensityPanel]:
    """One panel for each snapshot, with the points inside `plot_range`."""
    panels = []
    for snapshot in snapshots:
        inside = (snapshot.x > plot_range[0]) & (snapshot.x < plot_range[1])
        x = snapshot.x[inside]
        panels.append(
            DensityPanel(
                f"step {snapshot.step}",
                x,
                p_data=p_data.log_prob(x).exp(),
                p_g=snapshot.p_g.log_prob(x).exp(),
                d=snapshot.logits[inside].sigmoid(),
                d_optimal=optimal_logits(x, p_data, snapshot.p_g).sigmoid(),
            )
        )
    return panels
