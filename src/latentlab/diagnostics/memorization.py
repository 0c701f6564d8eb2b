"""Memorization: the reconstruction error on the stored training images and on test images."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Memorizer
from latentlab.diagnostics import MAX_TEST_IMAGES
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.reconstruction import squared_error
from latentlab.visualization.grids import save_grid, save_pairs

NUM_SHOWN = 16
NUM_STEPS = 64  # images along the range of the code
MAX_RATIO = 0.2  # of train and test error, below which the model counts as memorizing


def applies(model: Any) -> bool:
    return isinstance(model, Memorizer)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Compare the error on the stored images with that on test images, and with two baselines."""
    train = trained.module.memory.cpu().unflatten(1, trained.image_shape)
    test = torch.cat(list(evaluator.test.first(MAX_TEST_IMAGES).batches()))
    train_hat, test_hat = trained.reconstruct(train), trained.reconstruct(test)
    mean = train.mean(0)
    table = {
        "this model": {"train": sse(train_hat, train), "test": sse(test_hat, test)},
        "nearest training image": {"train": 0.0, "test": sse(nearest(test, train), test)},
        "mean training image": {"train": sse(mean, train), "test": sse(mean, test)},
    }
    train_sse, test_sse = table["this model"].values()
    return Result(
        title="Memorization",
        summary=f"The model was trained on {len(train)} images only, with codes of one value. The "
        f"squared error per image is {train_sse:.3g} for these images and {test_sse:.3g} for "
        f"{len(test):,} test images. The mean training image has an error of "
        f"{table['mean training image']['test']:.3g} on the test images.",
        metrics={"train_sse": train_sse, "test_sse": test_sse},
        table=table,
        figures=[
            pairs_figure("train", "Training images", train, train_hat),
            pairs_figure("test", "Test images", test, test_hat),
            range_figure(trained, trained.encode(train)),
        ],
        warnings=["memorizes"] if train_sse < MAX_RATIO * test_sse else [],
    )


def pairs_figure(name: str, caption: str, x: Tensor, x_hat: Tensor) -> Figure:
    """The first images x (N, C, H, W) above their reconstructions."""
    return Figure(name, caption, partial(save_pairs, x[:NUM_SHOWN], x_hat[:NUM_SHOWN]))


def range_figure(trained: TrainedModel, z: Tensor) -> Figure:
    """Images decoded from quantiles of the codes z (N, 1)."""
    codes = z.quantile(torch.linspace(0, 1, NUM_STEPS), dim=0)  # (NUM_STEPS, 1)
    return Figure(
        "codes",
        "Images decoded from the smallest to the largest code, at equal quantiles",
        partial(save_grid, trained.decode(codes), columns=NUM_STEPS // 4),
    )


def sse(x_hat: Tensor, x: Tensor) -> float:
    """Squared error, summed over an image, mean over images x (N, C, H, W)."""
    return float(squared_error(x_hat, x).mean())


def nearest(x: Tensor, train: Tensor) -> Tensor:
    """The nearest of the images `train` (N, C, H, W) to each image x (B, C, H, W)."""
    return train[torch.cdist(x.flatten(1), train.flatten(1)).argmin(1)]
