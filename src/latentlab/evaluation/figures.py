"""The figures that every model gets: samples, reconstructions, interpolations and a t-SNE map."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from latentlab.contracts import LatentInterpolation
from latentlab.evaluation.evaluator import Evaluator
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.embedding import tsne
from latentlab.visualization.charts import save_scatter
from latentlab.visualization.grids import save_grid, save_pairs, save_rows

NUM_SAMPLES, NUM_PAIRS, NUM_ENDPOINTS, NUM_POINTS = 64, 16, 12, 500


def save_figures(trained: TrainedModel, evaluator: Evaluator, folder: Path) -> None:
    """Write samples, reconstructions, interpolations and map (.png) into `folder`."""
    seed = evaluator.settings.seed
    save_grid(trained.sample(NUM_SAMPLES, seed=seed), folder / "samples.png", columns=8)
    x = next(evaluator.test.first(NUM_PAIRS).batches())
    z = trained.encode(x)
    save_pairs(x, trained.decode(z), folder / "reconstructions.png")
    save_rows(interpolate(trained, z[:NUM_ENDPOINTS]), folder / "interpolations.png")
    some = evaluator.test.first(NUM_POINTS)
    points = tsne(trained.features(torch.cat(list(some.batches()))), seed=seed)
    save_scatter(points, some.labels, evaluator.dataset.classes, folder / "map.png")


def interpolate(trained: TrainedModel, z: Tensor, *, steps: int = 10) -> Tensor:
    """Interpolate between codes 2i and 2i + 1 of z (N, D).

    Return images (N // 2, steps, C, H, W). Codes are interpolated linearly, unless the model is a
    contracts.LatentInterpolation.
    """
    count = len(z) // 2 * 2
    start, end = z[0:count:2], z[1:count:2]  # (N // 2, D)
    model = trained.module
    mix = model.interpolate if isinstance(model, LatentInterpolation) else torch.lerp
    codes = [mix(start, end, fraction) for fraction in torch.linspace(0, 1, steps).tolist()]
    return trained.decode(torch.cat(codes)).unflatten(0, (steps, -1)).transpose(0, 1)
