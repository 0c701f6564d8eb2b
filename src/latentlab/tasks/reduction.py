"""Dimensionality reduction: two numbers for an image, and who stays whose neighbour.

PCA keeps variance, MDS distances, an autoencoder whatever it needs to draw the image again.
Trustworthiness: are neighbours on the map neighbours among the images; continuity: the reverse.

    T(k) = 1 − 2 / (N k (2N − 3k − 1)) Σ_i Σ_{j ∈ U_k(i)} (r(i, j) − k)

Venna & Kaski 2001, "Neighborhood preservation in nonlinear projection methods"; U_k(i) are the k
nearest on the map that are not among the k nearest images, r(i, j) the rank among the images.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlab.charts import save_map
from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.pca import PCA
from latentlab.nets.mlp import mlp
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit


@dataclass(frozen=True)
class Reduction(Task):
    """`images` test images are drawn; `neighbours` is k; the autoencoder trains `steps` batches."""

    images: int = 1000
    neighbours: int = 12
    hidden: int = 256
    steps: int = 3000

    def __post_init__(self) -> None:
        if not 1 <= self.neighbours < self.images / 2:
            raise LatentlabError(
                f"neighbours is {self.neighbours}: it must be ≥ 1 and below half of images"
                f" ({self.images})"
            )

    def run(self, context: Context) -> Finding:
        train, shown = context.yard.train, context.yard.test.first(self.images)
        x = to_float(shown.images).flatten(1)  # (N, P)
        maps = {
            "PCA": _pca(train, x),
            "MDS": _mds(x, context.seed),
            "autoencoder": self._autoencoder(to_float(train.images).flatten(1), x, context.seed),
        }
        k = min(self.neighbours, (len(x) - 1) // 2)
        table = {
            name: {
                "trustworthiness": trustworthiness(x, z, k),
                "continuity": trustworthiness(z, x, k),
            }
            for name, z in maps.items()
        }
        classes = context.meta.classes
        return Finding(
            title="Dimensionality reduction",
            text=f"{len(x):,} test images on a plane. Both numbers lie in [0, 1] and ask about the "
            f"{k} nearest neighbours: trustworthiness falls where the map makes strangers "
            "neighbours, continuity where it tears neighbours apart. MDS sees the test images "
            "themselves; the others were fitted to the training images.",
            numbers={
                f"{name.lower()}_{key}": value
                for name, row in table.items()
                for key, value in row.items()
            },
            table=table,
            pictures=[
                Picture(name.lower(), name, partial(save_map, z, shown.labels, classes))
                for name, z in maps.items()
            ],
        )

    def _autoencoder(self, train: Tensor, x: Tensor, seed: int) -> Tensor:
        pixels = train.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = mlp([pixels, self.hidden, self.hidden // 2, 2], activation="selu")
            decoder = mlp([2, self.hidden // 2, self.hidden, pixels], activation="selu")
            both = torch.nn.Sequential(encoder, decoder)
            loss = lambda batch: squared_error(both(batch).sigmoid(), batch).mean()  # noqa: E731
            fit(both, loss, (train,), steps=self.steps, lr=2e-3, seed=seed)
        with torch.inference_mode():
            return encoder(x)


def _pca(train: Split, x: Tensor) -> Tensor:
    return PCA.fit(train, max_components=2).encode(x.double()).float()


def _mds(x: Tensor, seed: int) -> Tensor:
    from sklearn.manifold import MDS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of defaults that are to change
        made = MDS(n_components=2, n_init=1, max_iter=200, random_state=seed)
        return torch.from_numpy(made.fit_transform(x.double().numpy())).float()


def trustworthiness(x: Tensor, z: Tensor, k: int) -> float:
    """T(k) of the map z (N, D) of x (N, P); with both exchanged, the continuity."""
    from sklearn.manifold import trustworthiness as measured

    return float(measured(x.double().numpy(), z.double().numpy(), n_neighbors=k))
