"""Memory: how well a model redraws the images it has kept, and how badly all others."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import Autoencoder
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.plots import save_grid, save_pairs
from latentlab.studies import MOST_TEST_IMAGES
from latentlab.trained import Trained

SHOWN = 16
WALK = 64  # images along the line


@runtime_checkable
class Memorizer(Autoencoder, Protocol):
    """A model of one-number codes that keeps the images it was trained on, flat (N, C·H·W)."""

    memory: Tensor


def applies(model: Any) -> bool:
    return isinstance(model, Memorizer)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """The error on the images kept against that on test images, beside two simple rivals."""
    seen = trained.module.memory.cpu().unflatten(1, trained.image_shape)
    new = torch.cat(list(yard.test.first(MOST_TEST_IMAGES).batches()))
    seen_hat, new_hat = trained.reconstruct(seen), trained.reconstruct(new)
    table = {
        "this model": {"seen": error(seen_hat, seen), "new": error(new_hat, new)},
        "the nearest seen image": {"seen": 0.0, "new": error(nearest(new, seen), new)},
        "the mean seen image": {
            "seen": error(seen.mean(0, keepdim=True), seen),
            "new": error(seen.mean(0, keepdim=True), new),
        },
    }
    remembered, generalized = table["this model"].values()
    z = trained.encode(seen)
    line = z.quantile(torch.linspace(0, 1, WALK), dim=0)  # (WALK, 1), as dense as the codes are
    return Finding(
        title="Memory without understanding",
        text=f"Trained on {len(seen)} images and nothing else, with one number as code. The error"
        f" (SSE) is {remembered:.3g} on those, {generalized:.3g} on {len(new):,} test images;"
        " answering with the mean of the images seen would leave"
        f" {table['the mean seen image']['new']:.3g}.",
        numbers={"seen_sse": remembered, "new_sse": generalized},
        table=table,
        pictures=[
            Picture("seen", "Images seen", partial(save_pairs, seen[:SHOWN], seen_hat[:SHOWN])),
            Picture("new", "Test images", partial(save_pairs, new[:SHOWN], new_hat[:SHOWN])),
            Picture(
                "line",
                "All there is: the code from its least to its greatest value, by quantiles",
                partial(save_grid, trained.decode(line), columns=WALK // 4),
            ),
        ],
        flags=["memorizes"] if remembered < 0.2 * generalized else [],
    )


def error(x_hat: Tensor, x: Tensor) -> float:
    return float(squared_error(x_hat, x).mean())


def nearest(x: Tensor, seen: Tensor) -> Tensor:
    """Of the images `seen`, the one nearest to each x: (B, C, H, W)."""
    return seen[torch.cdist(x.flatten(1), seen.flatten(1)).argmin(1)]
