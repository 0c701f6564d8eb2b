"""Mode coverage: which regularization keeps a GAN from mode collapse.

    high quality: a sample within 3 σ of a center        covered: a center with such a sample

Data are a ring of 8 and a grid of 25 Gaussians in the plane; 2,500 samples are measured. This is
the protocol of Srivastava et al. 2017, "VEEGAN", as used by Lin et al. 2018, "PacGAN". Published
values from Lin et al. are in the table: they train larger networks for longer, and average over
runs. This task trains one short run for each regularization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentlab.contracts import Task
from latentlab.evaluation.results import Figure, Result
from latentlab.networks.mlp import FlatDiscriminator, mlp
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import train_gan
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import seeded
from latentlab.tasks.common.requirements import require_at_least
from latentlab.visualization.panels import save_scatter_panels

NUM_SAMPLES = 2500
LATENT_DIM = 2
METHODS: Mapping[str, tuple[str, DiscriminatorRegularization]] = {  # name → loss, regularization
    "GAN": ("non_saturating", DiscriminatorRegularization()),
    "packing 4": ("non_saturating", DiscriminatorRegularization(packing=4)),
    "minibatch std": ("non_saturating", DiscriminatorRegularization(minibatch_stddev=True)),
    "instance noise": ("non_saturating", DiscriminatorRegularization(instance_noise_std=0.5)),
    "R1": ("non_saturating", DiscriminatorRegularization(r1_gamma=0.1)),
    "hinge, spectral norm": ("hinge", DiscriminatorRegularization(spectral_norm=True)),
}
PUBLISHED = {  # Lin et al. 2018
    "GAN (published)": (6.3, 0.982, 17.3, 0.948),
    "PacGAN4 (published)": (7.8, 0.959, 24.8, 0.936),
}
COLUMNS = (
    "ring_modes_covered",
    "ring_high_quality_fraction",
    "grid_modes_covered",
    "grid_high_quality_fraction",
)
SUMMARY = (
    "Number of Gaussians that a GAN covers after {:,} steps, out of 8 (ring) and 25 (grid), for"
    " each regularization alone. A sample is of high quality if it is within three standard"
    " deviations of a center; a center with such a sample is covered. {:,} samples. Higher is"
    " better for both metrics. Read both: a few widely scattered samples also cover many centers."
    " Published rows: Lin et al. 2018, with larger networks and longer training."
)


@dataclass(frozen=True)
class Mixture:
    """Gaussians with equal weights and standard deviation `std` around `centers` (K, 2)."""

    name: str
    centers: Tensor
    std: float

    def sample(self, count: int) -> Tensor:
        """Points (N, 2) from torch's global generator."""
        chosen = self.centers[torch.randint(0, len(self.centers), (count,))]
        return chosen + self.std * torch.randn(count, 2)

    def score(self, x: Tensor) -> tuple[float, float]:
        """Number of covered modes, and fraction of high-quality points among x (N, 2)."""
        distance, nearest = torch.cdist(x, self.centers).min(1)
        good = distance < 3 * self.std
        return float(len(nearest[good].unique())), float(good.double().mean())


def ring() -> Mixture:
    """Eight centers on the unit circle, σ = 0.01."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    return Mixture("ring", torch.stack([angle.cos(), angle.sin()], 1), 0.01)


def grid() -> Mixture:
    """25 centers at (−4, −2, 0, 2, 4)², σ = 0.05."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture("grid", torch.cartesian_prod(line, line), 0.05)


@dataclass(frozen=True)
class ModeCoverage(Task):
    """Each GAN trains for `steps` steps with batches of `batch_size` by Adam.

    The learning rate falls from `lr` to 0. Both networks have two hidden layers of `hidden` units.
    """

    steps: int = 4000
    hidden: int = 128
    batch_size: int = 128
    lr: float = 3e-3

    def __post_init__(self) -> None:
        require_at_least(1, self, "steps", "hidden", "batch_size")

    def run(self, context: Context) -> Result:
        mixtures = (ring(), grid())
        samples = {
            (m.name, method): self.train_and_sample(m, method, context.seed)
            for m in mixtures
            for method in METHODS
        }
        scores = {
            method: [value for m in mixtures for value in m.score(samples[m.name, method])]
            for method in METHODS
        }
        return Result(
            title="Mode coverage",
            summary=SUMMARY.format(self.steps, NUM_SAMPLES),
            metrics={
                f"{_key(method)}_{column}": value
                for method, row in scores.items()
                for column, value in zip(COLUMNS, row, strict=True)
            },
            table={
                name: dict(zip(COLUMNS, row, strict=True))
                for name, row in {**scores, **PUBLISHED}.items()
            },
            figures=[
                make_figure(m, {method: samples[m.name, method] for method in METHODS})
                for m in mixtures
            ],
        )

    def train_and_sample(self, mixture: Mixture, method: str, seed: int) -> Tensor:
        """Train one GAN of METHODS on the mixture. Return NUM_SAMPLES points (N, 2)."""
        loss, regularization = METHODS[method]
        scale = float(mixture.centers.abs().max()) / 4  # the networks get points within [−4, 4]
        shape, hidden = (2, 1, 1), [self.hidden, self.hidden]  # a point is an image of 2×1×1
        with seeded(seed):
            # without batch normalization: its noise is larger than the modes
            generator = nn.Sequential(mlp([LATENT_DIM, *hidden, 2]), nn.Unflatten(1, shape))
            discriminator = FlatDiscriminator(regularization.packed_shape(shape), hidden=hidden)
            train_gan(
                generator,
                regularization.apply_to(discriminator),
                real=lambda: (mixture.sample(self.batch_size) / scale)[:, :, None, None],
                codes=lambda: torch.randn(self.batch_size, LATENT_DIM),
                loss=loss,
                regularization=regularization,
                steps=self.steps,
                lr=self.lr,
            )
            with torch.inference_mode():
                generator.eval()
                return generator(torch.randn(NUM_SAMPLES, LATENT_DIM)).flatten(1) * scale


def make_figure(mixture: Mixture, samples: Mapping[str, Tensor]) -> Figure:
    """`samples`: method → points (N, 2)."""
    save = partial(save_scatter_panels, samples, mixture.centers)
    return Figure(mixture.name, f"Centers of the {mixture.name}, and samples", save)


def _key(method: str) -> str:
    return method.replace(",", "").replace(" ", "_").lower()
