"""Dimensionality reduction to two dimensions: PCA, MDS and an autoencoder.

Trustworthiness measures whether neighbors on the 2-D map are neighbors among the images. Continuity
measures the reverse: it is the same formula with both spaces exchanged.

    T(k) = 1 − 2 / (N k (2N − 3k − 1)) Σ_i Σ_{j ∈ U_k(i)} (r(i, j) − k)

U_k(i): the k nearest neighbors of i on the map that are not among its k nearest images. r(i, j):
rank of j among the neighbors of i in image space.

Venna & Kaski 2001, "Neighborhood preservation in nonlinear projection methods".
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlab.contracts import Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.metrics.pca import PCA
from latentlab.tasks.common.autoencoder import fit_autoencoder
from latentlab.tasks.common.context import Context
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.charts import save_scatter

SUMMARY = (
    "{:,} test images are mapped to two dimensions. Both metrics are in [0, 1], higher is better,"
    " and use the {} nearest neighbors. Trustworthiness is low if images that are far apart become"
    " neighbors on the map. Continuity is low if neighboring images are separated on the map. MDS"
    " is fitted to the test images, PCA and the autoencoder to the training images."
)


@dataclass(frozen=True)
class DimensionalityReduction(Task):
    """`num_images` test images are mapped; `num_neighbors` is k.

    The autoencoder is P-`hidden`-`hidden`/2-2 for P pixels and trains for `steps` batches of 128,
    or for `max_epochs` epochs if this is less.
    """

    num_images: int = 1000
    num_neighbors: int = 12
    hidden: int = 256
    steps: int = 3000
    max_epochs: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.num_neighbors < self.num_images / 2:
            raise LatentlabError(
                f"num_neighbors is {self.num_neighbors}: it must be ≥ 1, and smaller than half of"
                f" num_images ({self.num_images})"
            )

    def run(self, context: Context) -> Result:
        train, test = context.evaluator.train, context.evaluator.test.first(self.num_images)
        x = to_float(test.images).flatten(1)  # (N, P)
        maps = {  # (N, 2) each
            "PCA": PCA.fit(train, max_components=2).encode(x.double()).float(),
            "MDS": _mds(x, context.seed),
            "autoencoder": self._autoencoder(train, x, context.seed),
        }
        k = min(self.num_neighbors, (len(x) - 1) // 2)
        table = {
            name: {
                "trustworthiness": trustworthiness(x, z, k),
                "continuity": trustworthiness(z, x, k),
            }
            for name, z in maps.items()
        }
        classes = context.dataset.classes
        return Result(
            title="Dimensionality reduction",
            summary=SUMMARY.format(len(x), k),
            metrics={
                f"{name.lower()}_{key}": value
                for name, row in table.items()
                for key, value in row.items()
            },
            table=table,
            figures=[
                Figure(name.lower(), name, partial(save_scatter, z, test.labels, classes))
                for name, z in maps.items()
            ],
        )

    def _autoencoder(self, train: Split, x: Tensor, seed: int) -> Tensor:
        x_train = to_float(train.images).flatten(1)
        widths = [self.hidden, self.hidden // 2, 2]
        net = fit_autoencoder(
            x_train,
            widths,
            steps=self.steps,
            max_epochs=self.max_epochs,
            lr=2e-3,
            seed=seed,
            activation="selu",
        )
        with torch.inference_mode():
            return net.encoder(x)


def _mds(x: Tensor, seed: int) -> Tensor:
    from sklearn.manifold import MDS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # new defaults in later versions
        mds = MDS(n_components=2, n_init=1, max_iter=200, random_state=seed)
        return torch.from_numpy(mds.fit_transform(x.double().numpy())).float()


def trustworthiness(x: Tensor, z: Tensor, k: int) -> float:
    """T(k) in [0, 1] of the map z (N, D) of x (N, P). With x and z exchanged: the continuity."""
    from sklearn import manifold

    return float(manifold.trustworthiness(x.double().numpy(), z.double().numpy(), n_neighbors=k))
