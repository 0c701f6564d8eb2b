"""Copying: does an autoencoder know its images, or would it return anything?

An autoencoder that has learned what its images have in common is at a loss with other images; one
that has learned to copy is not (Goodfellow et al. 2016, "Deep Learning", section 14.2).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Autoencoder, Split
from latentlab.evaluation import Function, Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.plots import save_pairs
from latentlab.trained import Trained

IMAGES = 500  # of each kind
PCA_IMAGES = 10_000  # that PCA is fitted to here
SHOWN = 4  # of each kind
COPIES = 0.05  # below this share of its variance left as error, noise has been copied


def applies(model: Any) -> bool:
    return isinstance(model, Autoencoder)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Reconstruct test images, the same with their pixels shuffled, and noise."""
    some = yard.train.first(PCA_IMAGES)
    kinds, fitted = strangers(yard.test.first(IMAGES), some, yard.settings.seed), PCA.fit(some)
    size = min(trained.module.latent_dim, fitted.components.shape[1])
    pca = PCACoder(fitted, size, yard.meta.image_shape)
    x_hat = {kind: trained.reconstruct(x) for kind, x in kinds.items()}
    table = {
        kind: {
            "SSE": float(squared_error(x_hat[kind], x).mean()),
            f"SSE of PCA-{size}": error(lambda x: pca.decode(pca.encode(x)), x),
            "variance": float((x - x.mean(0)).square().flatten(1).sum(1).mean()),
        }
        for kind, x in kinds.items()
    }
    left = {kind: row["SSE"] / row["variance"] for kind, row in table.items()}
    copies = left["noise"] < COPIES
    return Finding(
        title="Copying",
        text=f"{len(kinds['noise'])} test images, the same with their pixels shuffled by one"
        " permutation, and noise: each pixel uniform between its least and greatest value in the"
        " training images. A model that knows its images does badly with the others. The variance"
        " is what is left where every image is answered by the mean of its kind. Of the noise's"
        f" variance {left['noise']:.0%} is left here, of the test images'"
        f" {left['test images']:.0%}" + (": it copies whatever it is shown." if copies else "."),
        numbers={f"{kind.replace(' ', '_')}_left": share for kind, share in left.items()},
        table=table,
        pictures=[
            Picture(
                "strangers",
                "Test images, shuffled ones, noise; below each what comes back",
                partial(save_pairs, firsts(kinds), firsts(x_hat), columns=3 * SHOWN),
            )
        ],
        flags=["copies noise"] if copies else [],
    )


def strangers(test: Split, train: Split, seed: int) -> dict[str, Tensor]:
    """Images (N, C, H, W) of three kinds: from the test split, shuffled, and noise."""
    generator = torch.Generator().manual_seed(seed)
    x = next(test.batches(len(test)))
    order = torch.randperm(x[0].numel(), generator=generator)
    low, high = train.images.amin(0) / 255, train.images.amax(0) / 255  # (C, H, W)
    return {
        "test images": x,
        "shuffled pixels": x.flatten(1)[:, order].view_as(x),
        "noise": low + (high - low) * torch.rand(x.shape, generator=generator),
    }


def error(reconstruct: Function, x: Tensor) -> float:
    return float(squared_error(reconstruct(x), x).mean())


def firsts(kinds: dict[str, Tensor]) -> Tensor:
    """The first images of each kind, in one stack."""
    return torch.cat([images[:SHOWN] for images in kinds.values()])
