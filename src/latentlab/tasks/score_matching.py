"""Denoising score matching: a denoiser estimates the gradient of the log density (the score).

    r*(x̃) = E[x | x̃] = x̃ + σ² ∇ log p_σ(x̃)        p_σ: data density convolved with N(0, σ² I)

so (r(x̃) − x̃) / σ² estimates the score of p_σ. If the data are N points, p_σ is a mixture of N
Gaussians, and its score is known:

    ∇ log p_σ(x̃) = Σ_i w_i(x̃) (x_i − x̃) / σ²        w = softmax(−‖x̃ − x_i‖² / 2σ²)

The task compares both scores on a spiral in the plane and on images. Then it generates images with
a Markov chain: corrupt, denoise, repeat. Each step takes the mean reconstruction; Bengio et al.
sample from its distribution.

Vincent 2011, "A connection between score matching and denoising autoencoders". Alain & Bengio 2014,
"What regularized auto-encoders learn from the data-generating distribution". Bengio et al. 2013,
"Generalized denoising auto-encoders as generative models", for the Markov chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentlab.contracts import Task, to_float
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import fid
from latentlab.networks.mlp import mlp
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit, seeded
from latentlab.tasks.common.requirements import require_at_least
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import save_grid, save_rows
from latentlab.visualization.panels import save_vector_fields

DenoisingFunction = Callable[[Tensor], Tensor]
CURVE_POINTS = 200
NUM_CURVE_CHECKS, NUM_IMAGE_CHECKS = 2000, 200  # points at which the two scores are compared
INPUT_SCALE = 4  # a larger input makes the network on the curve learn faster
NUM_CHAINS_SHOWN, NUM_SAMPLES_SHOWN = 10, 64
SUMMARY = (
    "Score of the data density with added noise: (reconstruction − input) / σ² of a denoiser,"
    " against the exact score. Spiral in the plane, σ = {}: mean cosine {:.3f} (1 is perfect) at"
    " points from the noisy density. Images, σ = {}: the exact score is that of the mixture of all"
    " training images. A Markov chain from noise (corrupt, denoise, repeat) has FID {:.1f} after"
    " {} steps; the table has the FID of earlier steps, lower is better."
)


@dataclass(frozen=True)
class ScoreMatching(Task):
    """`noise_std`, `image_noise_std`: σ on the curve, which is within [−1, 1]², and on images.

    `steps`, `image_steps`: batches for the two denoisers. `hidden`, `image_hidden`: their units per
    layer. `chain_length`: steps of the Markov chain.
    """

    noise_std: float = 0.1
    steps: int = 2000
    hidden: int = 64
    image_noise_std: float = 0.5
    image_steps: int = 3000
    image_hidden: int = 512
    chain_length: int = 30

    def __post_init__(self) -> None:
        for name in ("noise_std", "image_noise_std"):
            if not 0 < getattr(self, name) < math.inf:
                raise LatentlabError(f"{name} is {getattr(self, name)}: it must be > 0 and finite")
        require_at_least(1, self, "steps", "hidden", "image_steps", "image_hidden", "chain_length")

    def run(self, context: Context) -> Result:
        evaluator, seed = context.evaluator, context.seed
        with seeded(seed):
            curve = spiral(CURVE_POINTS)
            curve_denoiser = fit_curve_denoiser(
                curve, self.noise_std, hidden=self.hidden, steps=self.steps, seed=seed
            )
            images = to_float(evaluator.train.images)
            denoiser = fit_image_denoiser(
                images, self.image_noise_std, hidden=self.image_hidden, steps=self.image_steps,
                seed=seed,
            )  # fmt: skip
            agreement = {
                "curve": compare_scores(
                    curve_denoiser, curve, self.noise_std, count=NUM_CURVE_CHECKS
                ),
                "images": compare_scores(
                    denoiser, images.flatten(1), self.image_noise_std, count=NUM_IMAGE_CHECKS
                ),
            }
            start = torch.rand(evaluator.num_samples, *images.shape[1:])
            chain = run_chain(denoiser, start, self.image_noise_std, self.chain_length)
        field = vector_fields(curve_denoiser, curve, self.noise_std)
        return self._result(evaluator, agreement, chain, make_figures(field, curve, chain))

    def _result(
        self,
        evaluator: Evaluator,
        agreement: dict[str, dict[str, float]],
        chain: dict[int, Tensor],
        figures: list[Figure],
    ) -> Result:
        real = evaluator.real_features()
        fids = {step: _fid(evaluator, real, x) for step, x in chain.items()}
        last = evaluator.score_samples([chain[self.chain_length]], real).metrics
        summary = SUMMARY.format(
            self.noise_std, agreement["curve"]["cosine"], self.image_noise_std, last["fid"],
            self.chain_length,
        )  # fmt: skip
        return Result(
            title="Denoising score matching",
            summary=summary,
            metrics={f"{k}_{key}": v for k, row in agreement.items() for key, v in row.items()}
            | {f"chain_{key}": value for key, value in last.items()},
            table={f"chain, step {step}": {"fid": value} for step, value in fids.items()},
            figures=figures,
        )


def make_figures(
    field: tuple[Tensor, Tensor, Tensor], curve: Tensor, chain: dict[int, Tensor]
) -> list[Figure]:
    """The two scores around the curve, some chains, and samples of the last step."""
    rows = torch.stack([x[:NUM_CHAINS_SHOWN] for x in chain.values()], 1)
    steps = ", ".join(str(step) for step in chain)
    last = max(chain)
    samples = chain[last][:NUM_SAMPLES_SHOWN]
    return [
        Figure(
            "field",
            "Blue arrows: half of the change by the denoiser. Grey arrows: half of σ² times the"
            " exact score. Orange dots: data",
            partial(save_vector_fields, *field, curve),
        ),
        Figure("chain", f"Markov chains, one per row: steps {steps}", partial(save_rows, rows)),
        Figure(
            "samples",
            f"Step {last} of {len(samples)} chains",
            partial(save_grid, samples, columns=8),
        ),
    ]


class ResidualDenoiser(nn.Module):
    """x̃ → x̃ + σ · network(x̃) for points (B, D): the network estimates σ times the score."""

    def __init__(self, num_dimensions: int, *, hidden: int, noise_std: float) -> None:
        super().__init__()
        sizes = [num_dimensions, hidden, hidden, hidden, num_dimensions]
        self.network = mlp(sizes, activation="silu")
        self.noise_std = noise_std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.noise_std * self.network(INPUT_SCALE * x)


def fit_curve_denoiser(
    curve: Tensor, noise_std: float, *, hidden: int, steps: int, seed: int
) -> DenoisingFunction:
    """Fit to points (N, 2)."""
    network = ResidualDenoiser(2, hidden=hidden, noise_std=noise_std)
    repeated = curve.repeat(5, 1)  # 5 noisy copies of a point in one batch
    return _fit_denoiser(
        network, repeated, noise_std, steps=steps, batch_size=512, lr=5e-3, seed=seed
    )


def fit_image_denoiser(
    images: Tensor, noise_std: float, *, hidden: int, steps: int, seed: int
) -> DenoisingFunction:
    """Fit to images (N, C, H, W)."""
    shape, num_pixels = images.shape[1:], math.prod(images.shape[1:])
    layers = mlp([num_pixels, hidden, hidden, num_pixels])
    network = nn.Sequential(nn.Flatten(), layers, nn.Sigmoid(), nn.Unflatten(1, shape))
    return _fit_denoiser(
        network, images, noise_std, steps=steps, batch_size=128, lr=2e-3, seed=seed
    )


def _fit_denoiser(
    network: nn.Module,
    x: Tensor,
    noise_std: float,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> DenoisingFunction:
    """Minimize E ‖network(x + σ ε) − x‖² / σ²."""

    def loss(x: Tensor) -> Tensor:
        noisy = x + noise_std * torch.randn_like(x)
        return squared_error(network(noisy), x).mean() / noise_std**2

    fit(network, loss, (x,), steps=steps, batch_size=batch_size, lr=lr, seed=seed)
    return network.requires_grad_(False)


def spiral(count: int) -> Tensor:
    """Points (N, 2) on a spiral with one and a half turns, within [−1, 1]²."""
    t = torch.linspace(0, 1, count)
    angle, radius = 3 * math.pi * t, 0.25 + 0.75 * t
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def mixture_score(x: Tensor, centers: Tensor, noise_std: float) -> Tensor:
    """∇ log 1/N Σ_i N(x; x_i, σ² I) at x (B, P), (B, P), for centers x_i (N, P)."""
    distances = torch.cdist(x.double(), centers.double()).square()  # (B, N)
    weights = torch.softmax(-distances / (2 * noise_std**2), dim=1)
    return ((weights @ centers.double() - x) / noise_std**2).to(x.dtype)


def compare_scores(
    denoiser: DenoisingFunction, data: Tensor, noise_std: float, *, count: int
) -> dict[str, float]:
    """Compare the denoiser's score with the exact score at `count` noisy points of data (N, P).

    `cosine`: mean over the points, in [−1, 1].
    `relative_error`: √(Σ‖learned − exact‖² / Σ‖exact‖²), ≥ 0.
    """
    rows = torch.randint(len(data), (count,))
    x = data[rows] + noise_std * torch.randn(count, data.shape[1])
    learned = (denoiser(x).flatten(1) - x) / noise_std**2
    exact = mixture_score(x, data, noise_std)
    error = (learned - exact).square().sum() / exact.square().sum()
    return {
        "cosine": float(torch.cosine_similarity(learned, exact).mean()),
        "relative_error": float(error.sqrt()),
    }


def run_chain(
    denoiser: DenoisingFunction, x: Tensor, noise_std: float, length: int
) -> dict[int, Tensor]:
    """Corrupt, denoise, repeat. Return images at steps 0, 1, 2, 3, 5, 10, 20, …, and the last."""
    kept = {0: x}
    kept_steps = {1, 2, 3, *(c * 10**k for k in range(6) for c in (1, 2, 5)), length}
    for step in range(1, length + 1):
        noisy = x + noise_std * torch.randn_like(x)
        x = torch.cat([denoiser(part) for part in noisy.split(500)])
        if step in kept_steps:
            kept[step] = x
    return kept


def _fid(evaluator: Evaluator, real: Tensor, images: Tensor) -> float:
    return fid(real, extract(evaluator.feature_extractor, images))


def vector_fields(
    denoiser: DenoisingFunction, curve: Tensor, noise_std: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Grid points (N, 2) within 3 σ of the curve, σ² times the exact score, and r(x) − x."""
    line = torch.linspace(-1.4, 1.4, 31)
    grid = torch.cartesian_prod(line, line)
    grid = grid[torch.cdist(grid, curve).amin(1) < 3 * noise_std]
    return grid, noise_std**2 * mixture_score(grid, curve, noise_std), denoiser(grid) - grid
