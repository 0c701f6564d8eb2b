"""A GAN on the line: the best discriminator is known there, so the trained one can be held to it.

    D*(x) = p_data(x) / (p_data(x) + p_g(x))            V(D*, G) = −log 4 + 2 JSD(p_data ‖ p_g)

Goodfellow et al. 2014, "Generative adversarial nets", proposition 1 and theorem 1. Data are
N(mean, scale²) and G(z) = a z + b with z ~ N(0, 1), so p_g is N(b, a²) and D* is known at any step.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentlab.charts import PALETTE
from latentlab.contracts import LatentlabError, Task
from latentlab.files import write_atomic
from latentlab.findings import Finding, Picture
from latentlab.games import descend
from latentlab.losses.adversarial import players
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam, linear_decay
from latentlab.tasks import Context

REACH = 8  # deviations that the integrals go beyond data and start
FINENESS = 100  # places to a deviation
MOST_PLACES = 1_000_000
GREY = "#808080"


class Affine(nn.Module):
    """z (B,) → a z + b."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, z: Tensor) -> Tensor:
        return self.a * z + self.b

    def density(self) -> Normal:
        return Normal(float(self.b.detach()), max(abs(float(self.a.detach())), 1e-6))


@dataclass(frozen=True)
class Frame:
    """The game after `step` steps of G: p_g, and the logits of D at the places x (N,)."""

    step: int
    p_g: Normal
    x: Tensor
    logits: Tensor


@dataclass(frozen=True)
class OneDimension(Task):
    """Data N(`mean`, `scale`²) against a generator that begins at N(`start`, 1).

    Each of G's `steps` follows `d_steps` of D, a network of two hidden layers; `frames` are drawn.
    Integrals reach 8 of the larger deviation, `scale` or 1, beyond data and start, in steps of a
    100th of the smaller one; what needs more than a million steps is refused.
    """

    mean: float = 2.0
    scale: float = 0.5
    start: float = -2.0
    steps: int = 800
    d_steps: int = 3
    batch_size: int = 256
    lr: float = 1e-2
    frames: int = 6

    def __post_init__(self) -> None:
        for key, least in (("steps", 1), ("d_steps", 1), ("batch_size", 1), ("frames", 2)):
            if getattr(self, key) < least:
                raise LatentlabError(f"{key} is {getattr(self, key)}: it must be ≥ {least}")
        if self.scale <= 0:
            raise LatentlabError(f"scale is {self.scale}, a standard deviation: it must be > 0")
        low, high, step = self._extent()
        if not high - low < MOST_PLACES * step:  # so written, NaN fails as well
            raise LatentlabError(
                f"mean {self.mean}, start {self.start} and scale {self.scale} need more than the"
                f" {MOST_PLACES:,} places that an integral may have: bring mean and start nearer to"
                " each other, or the scale nearer to 1, the generator's at the start"
            )

    def grid(self) -> Tensor:
        """Places (N,), float64, that hold the data, the first generator and all between them."""
        low, high, step = self._extent()
        return torch.linspace(low, high, round((high - low) / step) + 1, dtype=torch.float64)

    def _extent(self) -> tuple[float, float, float]:
        """The ends of the grid, and its step."""
        reach = REACH * max(self.scale, 1.0)
        step = min(self.scale, 1.0) / FINENESS
        return min(self.mean, self.start) - reach, max(self.mean, self.start) + reach, step

    def run(self, context: Context) -> Finding:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            played = self.play()
        p_data = Normal(self.mean, self.scale)
        table = {f"step {frame.step}": numbers_of(frame, p_data) for frame in played}
        last = table[f"step {played[-1].step}"]
        return Finding(
            title="GAN on the line",
            text="The generator's density moves onto the data's, and the discriminator's value "
            f"V(D, G) rises to −log 4 = {-math.log(4):.3f}, where it cannot tell them apart. D* is "
            "the best discriminator for the densities of that moment; `d_error` is the mean "
            "distance |D − D*| over (p_data + p_g)/2, `best_value` what D* would reach.",
            numbers={f"final_{key}": value for key, value in last.items()},
            table=table,
            pictures=[
                Picture(
                    "frames",
                    "Densities of data and generator; D beside the best one, D*",
                    partial(draw, played, p_data, self._window()),
                )
            ],
        )

    def _window(self) -> tuple[float, float]:
        """What the picture shows: 6 deviations of the data, 3 of the generator at the start."""
        low = min(self.mean - 6 * self.scale, self.start - 3)
        return low, max(self.mean + 6 * self.scale, self.start + 3)

    def play(self) -> list[Frame]:
        """Train both players by sampling; frames at steps spaced towards the beginning."""
        generator, discriminator = Affine(1.0, self.start), mlp([1, 32, 32, 1], activation="tanh")
        d_loss, g_loss = players("non_saturating")
        opt_g = adam(generator.parameters(), self.lr, betas=(0.5, 0.99))
        opt_d = adam(discriminator.parameters(), self.lr, betas=(0.5, 0.99))
        schedules = [linear_decay(opt_g, self.steps), linear_decay(opt_d, self.steps)]
        shown = {round(self.steps * (i / (self.frames - 1)) ** 2) for i in range(self.frames)}
        frames, grid = [], self.grid()
        for step in range(self.steps + 1):
            for _ in range(self.d_steps):
                x = self.mean + self.scale * torch.randn(self.batch_size, 1)
                fake = generator(torch.randn(self.batch_size, 1)).detach()
                descend(opt_d, d_loss(discriminator(x), discriminator(fake)))
            if step in shown:
                frames.append(_frame(step, generator, discriminator, grid))
            if step < self.steps:
                fake = generator(torch.randn(self.batch_size, 1))
                descend(opt_g, g_loss(discriminator(fake)))
                for schedule in schedules:
                    schedule.step()
        return frames


@torch.no_grad()
def _frame(step: int, generator: Affine, discriminator: nn.Module, x: Tensor) -> Frame:
    return Frame(step, generator.density(), x, discriminator(x[:, None].float())[:, 0].double())


def best_logits(x: Tensor, p_data: Normal, p_g: Normal) -> Tensor:
    """σ⁻¹(D*) = log p_data − log p_g at the places x (N,)."""
    return p_data.log_prob(x) - p_g.log_prob(x)


def value(x: Tensor, logits: Tensor, p_data: Normal, p_g: Normal) -> float:
    """V(D, G) = E_data log D + E_g log(1 − D), by the trapezoidal rule on the places x (N,)."""
    real = p_data.log_prob(x).exp() * nn.functional.logsigmoid(logits)
    fake = p_g.log_prob(x).exp() * nn.functional.logsigmoid(-logits)
    return float(torch.trapezoid(real + fake, x))


def numbers_of(frame: Frame, p_data: Normal) -> dict[str, float]:
    """Where p_g is, what D's value is and the best one's, and how far D is from D*."""
    x = frame.x
    best = best_logits(x, p_data, frame.p_g)
    middle = (p_data.log_prob(x).exp() + frame.p_g.log_prob(x).exp()) / 2
    error = (frame.logits.sigmoid() - best.sigmoid()).abs()
    return {
        "generator_mean": float(frame.p_g.mean),
        "generator_scale": float(frame.p_g.stddev),
        "value": value(x, frame.logits, p_data, frame.p_g),
        "best_value": value(x, best, p_data, frame.p_g),
        "d_error": float(torch.trapezoid(middle * error, x)),
    }


def draw(frames: Sequence[Frame], p_data: Normal, window: tuple[float, float], path: Path) -> None:
    """One panel a frame: densities filled, D and D* as lines between 0 and 1."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        columns = math.ceil(len(frames) / 2)
        size = (3 * columns, 4.6)
        figure = Figure(figsize=size, dpi=100, facecolor="none", layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
        for panel in panels.flat[len(frames) :]:
            panel.set_axis_off()
        for panel, frame in zip(panels.flat, frames, strict=False):
            _panel(panel, frame, p_data, window)
        lines, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            lines, names, loc="outside lower center", ncols=4, frameon=False, labelcolor=GREY
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def _panel(axes: Any, frame: Frame, p_data: Normal, window: tuple[float, float]) -> None:
    near = (frame.x > window[0]) & (frame.x < window[1])
    x = frame.x[near]
    for density, name, hue in ((p_data, "data", PALETTE[0]), (frame.p_g, "generator", PALETTE[1])):
        axes.fill_between(x, density.log_prob(x).exp(), color=hue, alpha=0.5, lw=0)
        axes.fill_between([], [], color=hue, alpha=0.5, label=name)
    axes.plot(
        x,
        best_logits(x, p_data, frame.p_g).sigmoid(),
        color=PALETTE[2],
        ls="--",
        lw=1.5,
        label="D*",
    )
    axes.plot(x, frame.logits[near].sigmoid(), color=GREY, lw=2, label="D")
    axes.set_title(f"step {frame.step}", color=GREY, fontsize=10)
    axes.set_facecolor("none")
    axes.set_ylim(0, 1.05)
    axes.tick_params(colors=GREY, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
