"""Identity mapping: does an autoencoder copy every input, also one that is not like the data?

An autoencoder that has learned the structure of its data reconstructs other images badly. One that
approximates the identity reconstructs them well (Goodfellow et al. 2016, "Deep Learning", section
14.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Encoder, Split
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.visualization.grids import save_pairs

NUM_IMAGES = 500  # of each set
NUM_FITTED = 10_000  # training images that fit PCA
NUM_SHOWN = 4  # of each set
MIN_VARIANCE = 1e-9  # of an image; less is rounding: all images are equal
MAX_COPIED = 0.05  # residual variance of noise below which the model counts as the identity


def applies(model: Any) -> bool:
    return isinstance(model, Encoder)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Reconstruct test images, test images with shuffled pixels, and noise."""
    train = evaluator.train.first(NUM_FITTED)
    sets = image_sets(evaluator.test.first(NUM_IMAGES), train, evaluator.settings.seed)
    pca = PCA.fit(train)
    latent_dim = min(trained.module.latent_dim, pca.components.shape[1])
    coder = PCACoder(pca, latent_dim, evaluator.dataset.image_shape)
    x_hat = {name: trained.reconstruct(x) for name, x in sets.items()}
    table = {name: _row(x, x_hat[name], coder) for name, x in sets.items()}
    varied = {name: row for name, row in table.items() if row["variance"] > MIN_VARIANCE}
    residual = {name: row["SSE"] / row["variance"] for name, row in varied.items()}
    caption = "Test images, shuffled pixels, noise; below each row its reconstructions"
    plot = partial(save_pairs, first_images(sets), first_images(x_hat), columns=3 * NUM_SHOWN)
    return Result(
        title="Identity mapping",
        summary=_summary(len(sets["noise"]), residual),
        metrics={f"{k.replace(' ', '_')}_residual_variance": v for k, v in residual.items()},
        table=table,
        figures=[Figure("out_of_distribution", caption, plot)],
        warnings=_warnings(residual),
    )


def _warnings(residual: Mapping[str, float]) -> list[str]:
    if "noise" not in residual:
        return ["the images do not differ: no residual variance"]
    return ["copies noise"] if residual["noise"] < MAX_COPIED else []


def _row(x: Tensor, x_hat: Tensor, coder: PCACoder) -> dict[str, float]:
    return {
        "SSE": sse(x_hat, x),
        f"SSE of PCA-{coder.latent_dim}": sse(coder.decode(coder.encode(x)), x),
        "variance": float((x - x.mean(0)).square().flatten(1).sum(1).mean()),
    }


def _summary(count: int, residual: Mapping[str, float]) -> str:
    return (
        f"Reconstruction of {count} test images, of these images with their pixels shuffled by one "
        "permutation, and of noise: each pixel is uniform between its least and greatest value in "
        "the training images. A model of the data reconstructs the last two badly. The residual "
        "variance is the squared error divided by the variance of the set. It is "
        f"{_percent(residual, 'noise')} for noise and {_percent(residual, 'test images')} for test "
        "images. "
        f"Below {MAX_COPIED:.0%} for noise, the model copies any input."
    )


def _percent(residual: Mapping[str, float], name: str) -> str:
    return f"{residual[name]:.0%}" if name in residual else "not defined, without variance,"


def image_sets(test: Split, train: Split, seed: int) -> dict[str, Tensor]:
    """Three sets of images (N, C, H, W): test images, with shuffled pixels, and noise."""
    generator = torch.Generator().manual_seed(seed)
    x = next(test.batches(len(test)))
    order = torch.randperm(x[0].numel(), generator=generator)
    low, high = train.images.amin(0) / 255, train.images.amax(0) / 255  # (C, H, W)
    return {
        "test images": x,
        "shuffled pixels": x.flatten(1)[:, order].view_as(x),
        "noise": low + (high - low) * torch.rand(x.shape, generator=generator),
    }


def sse(x_hat: Tensor, x: Tensor) -> float:
    """Squared error, summed over an image, mean over images x (N, C, H, W)."""
    return float(squared_error(x_hat, x).mean())


def first_images(sets: dict[str, Tensor]) -> Tensor:
    """The first images of each set, (3 · NUM_SHOWN, C, H, W)."""
    return torch.cat([images[:NUM_SHOWN] for images in sets.values()])
