"""Denoising is knowing the density's slope: what a denoiser moves a point by is σ² times the score.

    r*(x̃) = E[x | x̃] = x̃ + σ² ∇ log p_σ(x̃),   p_σ = data smoothed by N(0, σ² I)

Vincent 2011, "A connection between score matching and denoising autoencoders"; Alain & Bengio 2014,
"What regularized auto-encoders learn from the data-generating distribution", for small σ. For data
that are N points, p_σ is a mixture of N Gaussians, and its score is known:

    ∇ log p_σ(x̃) = Σ_i w_i(x̃) (x_i − x̃) / σ²,   w = softmax(−‖x̃ − x_i‖² / 2σ²)

Walking the denoiser (corrupt, reconstruct, repeat) draws new images: Bengio et al. 2013,
"Generalized denoising auto-encoders as generative models", and 2014, "Deep generative stochastic
networks". Here each step takes the mean reconstruction where theirs draws from its distribution.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Task, to_float
from latentlab.evaluation import Yardsticks
from latentlab.files import write_atomic
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.features import extract
from latentlab.metrics.fid import GaussianStatistics, frechet_distance
from latentlab.nets.mlp import mlp
from latentlab.plots import save_grid, save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit

Denoiser = Callable[[Tensor], Tensor]
CHECKED = 200  # corrupted images at which the two scores are compared
STEEP = 4  # a first layer of usual size sees a curve of usual turns: it learns faster
DRAWN = 64  # images of the last step that are drawn


@dataclass(frozen=True)
class Score(Task):
    """`scale`, `image_scale`: σ on the curve, which fills [−1, 1]², and on images in [0, 1].

    `steps`, `image_steps`: batches each denoiser trains; `walk`: steps from noise to an image.
    """

    scale: float = 0.1
    steps: int = 2000
    hidden: int = 64
    image_scale: float = 0.5
    image_steps: int = 3000
    image_hidden: int = 512
    walk: int = 30

    def __post_init__(self) -> None:
        for name in ("scale", "image_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise LatentlabError(f"{name} is {getattr(self, name)}: a noise level must be > 0")
        if self.walk < 1:
            raise LatentlabError(f"walk is {self.walk}: at least one step from noise is needed")

    def run(self, context: Context) -> Finding:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            curve = spiral(200)
            plane = _plane_denoiser(curve, self.scale, self.hidden, self.steps, context.seed)
            images = to_float(context.yard.train.images)
            denoiser = _image_denoiser(
                images, self.image_scale, self.image_hidden, self.image_steps, context.seed
            )
            agreement = {
                "curve": agree(plane, curve, self.scale, count=2000),
                "images": agree(denoiser, images.flatten(1), self.image_scale, count=CHECKED),
            }
            chain = walk(denoiser, torch.rand(context.yard.num_samples, *images.shape[1:]),
                         self.image_scale, self.walk)  # fmt: skip
        return self._finding(agreement, plane, curve, chain, context.yard)

    def _finding(
        self,
        agreement: dict[str, dict[str, float]],
        plane: Denoiser,
        curve: Tensor,
        chain: dict[int, Tensor],
        yard: Yardsticks,
    ) -> Finding:
        real = yard.real_features()
        distances = {step: _fid(yard, real, x) for step, x in chain.items()}
        last = yard.score_samples(chain[self.walk], real)
        cosine = agreement["curve"]["cosine"]
        rows = torch.stack([x[:10] for x in chain.values()], 1)
        steps = ", ".join(str(step) for step in chain)
        return Finding(
            title="Denoising as score",
            text=f"(reconstruction − input)/σ² against the true score of the smoothed data. On a "
            f"spiral with σ = {self.scale} their mean cosine is {cosine:.3f}, at points drawn from "
            f"the smoothed density. Images were corrupted by σ = {self.image_scale}; their density "
            f"is the mixture of all training images. Walking from noise for {self.walk} steps "
            f"(corrupt, reconstruct, repeat) ends at FID {last['fid']:.1f}.",
            numbers={f"{k}_{key}": v for k, row in agreement.items() for key, v in row.items()}
            | {f"walk_{key}": value for key, value in last.items()},
            table={f"walk, step {step}": {"fid": value} for step, value in distances.items()},
            pictures=[
                Picture(
                    "field",
                    "Blue: where the denoiser moves a point (half of the way); grey below it: "
                    "σ² times the true score; dots: the data",
                    partial(save_field, plane, curve, self.scale),
                ),
                Picture("chain", f"Ten walks, steps {steps}", partial(save_rows, rows)),
                Picture(
                    "samples",
                    f"Step {self.walk} of {DRAWN} walks",
                    partial(save_grid, chain[self.walk][:DRAWN], columns=8),
                ),
            ],
        )


class Residual(nn.Module):
    """x̃ + σ · network(x̃), for points: what the network says is σ times the score."""

    def __init__(self, dimensions: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.network = mlp([dimensions, hidden, hidden, hidden, dimensions], activation="silu")
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.network(STEEP * x)


def _plane_denoiser(curve: Tensor, scale: float, hidden: int, steps: int, seed: int) -> Denoiser:
    return _trained(Residual(2, hidden, scale), curve.repeat(5, 1), scale, steps, 512, 5e-3, seed)


def _image_denoiser(images: Tensor, scale: float, hidden: int, steps: int, seed: int) -> Denoiser:
    shape, size = images.shape[1:], math.prod(images.shape[1:])
    layers = mlp([size, hidden, hidden, size])
    network = nn.Sequential(nn.Flatten(), layers, nn.Sigmoid(), nn.Unflatten(1, shape))
    return _trained(network, images, scale, steps, 128, 2e-3, seed)


def _trained(
    network: nn.Module, x: Tensor, scale: float, steps: int, batch_size: int, lr: float, seed: int
) -> Denoiser:
    """Minimise E ‖network(x + σ ε) − x‖² / σ²."""

    def loss(x: Tensor) -> Tensor:
        return squared_error(network(x + scale * torch.randn_like(x)), x).mean() / scale**2

    fit(network, loss, (x,), steps=steps, batch_size=batch_size, lr=lr, seed=seed)
    return network.requires_grad_(False)


def spiral(count: int) -> Tensor:
    """Points (N, 2) on one and a half turns, within [−1, 1]²."""
    t = torch.linspace(0, 1, count)
    angle, radius = 3 * math.pi * t, 0.25 + 0.75 * t
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def mixture_score(x: Tensor, centres: Tensor, scale: float) -> Tensor:
    """∇ log 1/N Σ_i N(x; x_i, σ² I) at x (B, P) for centres (N, P): (B, P)."""
    distances = torch.cdist(x.double(), centres.double()).square()  # (B, N)
    weights = torch.softmax(-distances / (2 * scale**2), dim=1)
    return ((weights @ centres.double() - x) / scale**2).to(x.dtype)


def agree(denoiser: Denoiser, data: Tensor, scale: float, *, count: int) -> dict[str, float]:
    """The denoiser's score against the true one, at `count` draws of the smoothed data (N, P).

    `cosine` is the mean over draws; `relative_error` is √(Σ‖learned − true‖² / Σ‖true‖²).
    """
    rows = torch.randint(len(data), (count,))
    x = data[rows] + scale * torch.randn(count, data.shape[1])
    learned = (denoiser(x).flatten(1) - x) / scale**2
    true = mixture_score(x, data, scale)
    error = (learned - true).square().sum() / true.square().sum()
    return {
        "cosine": float(torch.cosine_similarity(learned, true).mean()),
        "relative_error": float(error.sqrt()),
    }


def walk(denoiser: Denoiser, x: Tensor, scale: float, steps: int) -> dict[int, Tensor]:
    """Corrupt, reconstruct, repeat: step → images, for 0, 1, 2, 3, 5, 10, 20, … and the last."""
    kept = {0: x}
    shown = {1, 2, 3, *(c * 10**k for k in range(6) for c in (1, 2, 5)), steps}
    for step in range(1, steps + 1):
        noisy = x + scale * torch.randn_like(x)
        x = torch.cat([denoiser(part) for part in noisy.split(500)])
        if step in shown:
            kept[step] = x
    return kept


def _fid(yard: Yardsticks, real: Tensor, images: Tensor) -> float:
    fake = GaussianStatistics.of(extract(yard.eyes, images))
    return frechet_distance(GaussianStatistics.of(real), fake)


def save_field(denoiser: Denoiser, curve: Tensor, scale: float, path: Path) -> None:
    """The denoiser's moves over the true ones, halved, at grid points within 3 σ of the curve."""
    from matplotlib import style

    line = torch.linspace(-1.4, 1.4, 31)
    grid = torch.cartesian_prod(line, line)
    grid = grid[torch.cdist(grid, curve).amin(1) < 3 * scale]
    moves = [scale**2 * mixture_score(grid, curve, scale), denoiser(grid) - grid]
    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        write_atomic(path, _field_png(grid, moves, curve))


def _field_png(grid: Tensor, moves: Sequence[Tensor], curve: Tensor) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), dpi=120, facecolor="none", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.scatter(curve[:, 0], curve[:, 1], s=8, c="#ffa90e", lw=0, zorder=3)
    looks: list[dict[str, Any]] = [{"color": "#94a4a2", "width": 0.008}, {"color": "#3f90da"}]
    for move, look in zip(moves, looks, strict=True):
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 2, "width": 0.003, **look}
        axes.quiver(*grid.T.numpy(), *move.T.numpy(), **arrows)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
