"""Modes: which cure keeps a generator from forgetting most of the data?

    high quality: within 3 σ of a centre        covered: a centre with a high-quality sample

A ring of 8 and a grid of 25 Gaussians in the plane, 2,500 samples: the protocol of Srivastava et
al. 2017, "VEEGAN", as used by Lin et al. 2018, "PacGAN", whose figures stand in the table. They
train larger networks for longer, and average over trials; here each game is short, and one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from latentlab.charts import PALETTE
from latentlab.contracts import LatentlabError, Task
from latentlab.cures import Cures
from latentlab.files import write_atomic
from latentlab.findings import Finding, Picture
from latentlab.games import play
from latentlab.nets.flat import FlatDiscriminator
from latentlab.nets.mlp import mlp
from latentlab.tasks import Context

SAMPLES = 2500
LATENT_DIM = 2
GREY = "#808080"
CURES: Mapping[str, tuple[str, Cures]] = {
    "GAN": ("non_saturating", Cures()),
    "packing 4": ("non_saturating", Cures(packing=4)),
    "minibatch std": ("non_saturating", Cures(minibatch_std=True)),
    "instance noise": ("non_saturating", Cures(instance_noise=0.5)),
    "R1": ("non_saturating", Cures(r1=0.1)),
    "hinge, spectral": ("hinge", Cures(spectral_norm=True)),
}
PUBLISHED = {  # Lin et al. 2018
    "GAN (published)": (6.3, 0.982, 17.3, 0.948),
    "PacGAN4 (published)": (7.8, 0.959, 24.8, 0.936),
}
COLUMNS = ("ring_modes", "ring_quality", "grid_modes", "grid_quality")


@dataclass(frozen=True)
class Mixture:
    """Equal Gaussians of standard deviation `scale` around `centres` (K, 2)."""

    name: str
    centres: Tensor
    scale: float

    def sample(self, count: int) -> Tensor:
        chosen = self.centres[torch.randint(0, len(self.centres), (count,))]
        return chosen + self.scale * torch.randn(count, 2)

    def score(self, x: Tensor) -> tuple[float, float]:
        """(modes covered, share of high quality) of points (N, 2)."""
        distance, nearest = torch.cdist(x, self.centres).min(1)
        good = distance < 3 * self.scale
        return float(len(nearest[good].unique())), float(good.double().mean())


def ring() -> Mixture:
    """Eight on the unit circle, σ = 0.01."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    return Mixture("ring", torch.stack([angle.cos(), angle.sin()], 1), 0.01)


def grid() -> Mixture:
    """Twenty-five at (−4, −2, 0, 2, 4)², σ = 0.05."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture("grid", torch.cartesian_prod(line, line), 0.05)


@dataclass(frozen=True)
class Modes(Task):
    """Each game: `steps` of both players, networks of two layers of `hidden`, Adam at `lr`."""

    steps: int = 4000
    hidden: int = 128
    batch_size: int = 128
    lr: float = 3e-3

    def __post_init__(self) -> None:
        for key in ("steps", "hidden", "batch_size"):
            if getattr(self, key) < 1:
                raise LatentlabError(f"{key} is {getattr(self, key)}: it must be ≥ 1")

    def run(self, context: Context) -> Finding:
        mixtures = (ring(), grid())
        clouds = {
            (m.name, cure): self.samples(m, cure, context.seed) for m in mixtures for cure in CURES
        }
        scores = {
            cure: [number for m in mixtures for number in m.score(clouds[m.name, cure])]
            for cure in CURES
        }
        return Finding(
            title="Modes kept",
            text="Which of 8 (ring) and 25 (grid) Gaussians a generator reaches after "
            f"{self.steps:,} steps, with each cure alone: of {SAMPLES:,} samples, those within "
            "three standard deviations of a centre are of high quality, and such a centre is "
            "covered; read both, for scattered samples hit centres by chance. Published rows: "
            "Lin et al. 2018, with larger networks and longer training.",
            numbers={
                f"{_key(cure)}_{column}": value
                for cure, row in scores.items()
                for column, value in zip(COLUMNS, row, strict=True)
            },
            table={
                name: dict(zip(COLUMNS, row, strict=True))
                for name, row in {**scores, **PUBLISHED}.items()
            },
            pictures=[
                Picture(m.name, f"The {m.name}: centres and samples", partial(draw, m, clouds))
                for m in mixtures
            ],
        )

    def samples(self, mixture: Mixture, cure: str, seed: int) -> Tensor:
        """Points (N, 2) of the generator that one cure trained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.play(mixture, *CURES[cure])

    def play(self, mixture: Mixture, loss: str, cures: Cures) -> Tensor:
        """Train on points within [−4, 4], as images of 2×1×1; return samples (N, 2)."""
        size = float(mixture.centres.abs().max()) / 4
        shape, hidden = (2, 1, 1), [self.hidden, self.hidden]
        # no batch normalisation in G: its noise is wider than the modes
        generator = nn.Sequential(mlp([LATENT_DIM, *hidden, 2]), nn.Unflatten(1, shape))
        discriminator = FlatDiscriminator(cures.packed(shape), hidden=hidden)
        cures.equip(discriminator)
        play(
            generator,
            discriminator,
            lambda: (mixture.sample(self.batch_size) / size)[:, :, None, None],
            lambda: torch.randn(self.batch_size, LATENT_DIM),
            loss=loss,
            cures=cures,
            steps=self.steps,
            lr=self.lr,
        )
        with torch.inference_mode():
            generator.eval()
            return generator(torch.randn(SAMPLES, LATENT_DIM)).flatten(1) * size


def _key(cure: str) -> str:
    return cure.replace(",", "").replace(" ", "_").lower()


def draw(mixture: Mixture, clouds: Mapping[tuple[str, str], Tensor], path: Path) -> None:
    """One panel a cure: centres as rings, samples as dots."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):  # a user's matplotlibrc must not change the bytes
        figure = Figure(figsize=(8, 5.6), dpi=100, facecolor="none", layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(2, 3).flat)
        reach = 1.4 * float(mixture.centres.abs().max())
        for panel in panels:
            panel.set_axis_off()
        for panel, name in zip(panels, CURES, strict=False):
            panel.scatter(*mixture.centres.T, s=70, facecolors="none", edgecolors=GREY, lw=1)
            look = {"s": 4, "lw": 0, "alpha": 0.5, "color": PALETTE[0]}
            panel.scatter(*clouds[mixture.name, name].T, **look)
            panel.set_title(name, color=GREY, fontsize=10)
            panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())
