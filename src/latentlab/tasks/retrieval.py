"""Retrieval: find images of the same class by the distance of their codes, or of binary codes.

Semantic hashing trains an autoencoder whose code passes a noisy sigmoid:

    b = σ(f(x) + ε)      ε ~ N(0, σ² I)      min Σ_pixels (x̂(b) − x)²

To survive the noise, f(x) must be large, so b is nearly binary. The hash is b_d = 1 where f_d(x) >
0, else 0. The distance of two hashes is the number of different bits. Baselines: raw pixels, and
the signs of the principal components as a hash of equal size. The metric is the mean over queries
of the average precision; an image is relevant if it has the class of the query. No model uses
classes.

Salakhutdinov & Hinton 2009, "Semantic hashing".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentlab.contracts import Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.codes import code_bits, code_vectors
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.pca import PCA
from latentlab.networks.mlp import mlp
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit, seeded
from latentlab.tasks.common.ranking import average_precision
from latentlab.tasks.common.requirements import (
    labels_of,
    require_at_least,
    require_classes,
    require_encoder,
)
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import save_rows

NUM_SHOWN, NUM_NEIGHBORS = 10, 9  # queries in a figure, and images beside each query
HASHES = ("PCA signs", "semantic hash")
SUMMARY = (
    "{:,} test images are queries; {:,} training images are the database. mAP is the mean over"
    " queries of the average precision: 1 if all images of the query's class come first. Precision"
    " at 10 is the fraction of the 10 nearest images with the query's class. Both hashes have"
    " {:.0f} bits and are compared by the number of different bits. Pixels and the codes of {}"
    " have 32 bits per value and are compared by Euclidean distance; discrete codes have as many"
    " bits as their indices, and are compared by the vectors of their codebook."
)

Pair = tuple[Tensor, Tensor]  # queries (Q, F) and database (N, F)


class HashAutoencoder(nn.Module):
    """Flat images (B, P) → f(x) (B, D) → flat images (B, P). `noise_std`: σ."""

    def __init__(self, num_pixels: int, *, hidden: int, num_bits: int, noise_std: float) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.encoder = mlp([num_pixels, hidden, hidden // 2, num_bits])
        self.decoder = mlp([num_bits, hidden // 2, hidden, num_pixels])

    def loss(self, x: Tensor) -> Tensor:
        logits = self.encoder(x)
        b = (logits + self.noise_std * torch.randn_like(logits)).sigmoid()
        return squared_error(self.decoder(b).sigmoid(), x).mean()


@dataclass(frozen=True)
class Retrieval(Task):
    """`num_queries` test images are compared with at most `database_size` training images.

    The hash autoencoder is P-`hidden`-`hidden`/2-D for P pixels, D = `num_bits`; at most 2 P units
    and P / 2 bits. It trains for `steps` batches of 128 with noise of standard deviation
    `noise_std` by Adam; the learning rate falls from `lr` to 0.
    """

    needs_labels = True
    needs_encoder = True

    num_queries: int = 1000
    database_size: int = 20000
    num_bits: int = 32
    hidden: int = 512
    noise_std: float = 4.0
    steps: int = 4000
    lr: float = 1e-3

    def __post_init__(self) -> None:
        require_at_least(1, self, "num_queries", "database_size", "num_bits", "hidden", "steps")
        if self.noise_std < 0:
            raise LatentlabError(f"noise_std is {self.noise_std}: it must be ≥ 0")

    def run(self, context: Context) -> Result:
        require_classes(context)
        require_encoder(context)
        train, test = context.evaluator.train, context.evaluator.test.first(self.num_queries)
        base = train.first(self.database_size)
        spaces = self.spaces(context, to_float(test.images), to_float(base.images))
        distances = {name: torch.cdist(*pair) for name, pair in spaces.items()}  # (Q, N)
        table = {
            name: {
                "mAP": mean_average_precision(distance, test, base),
                "precision at 10": precision(distance, test, base, 10),
                "bits": self._bits(name, context, spaces[name][0]),
            }
            for name, distance in distances.items()
        }
        return Result(
            title="Retrieval",
            summary=SUMMARY.format(
                len(test), len(base), table[HASHES[0]]["bits"], context.trained.name
            ),
            metrics={
                f"{_key(name)}_{key}": row[column]
                for name, row in table.items()
                for key, column in (("map", "mAP"), ("precision_at_10", "precision at 10"))
            },
            table=table,
            figures=[make_figure(name, d, test, base) for name, d in distances.items()],
            warnings=constant_bits(spaces["semantic hash"][1]),
        )

    def _bits(self, name: str, context: Context, queries: Tensor) -> float:
        """Bits of one image of `queries` (Q, F) in the space `name`."""
        if name == "codes":
            return code_bits(context.trained)
        return float(queries.shape[1] * (1 if name in HASHES else 32))

    def spaces(self, context: Context, x: Tensor, x_base: Tensor) -> dict[str, Pair]:
        """Represent queries x (Q, C, H, W) and database x_base (N, C, H, W) in each space."""
        train, trained = context.evaluator.train, context.trained
        num_bits = min(self.num_bits, x[0].numel() // 2)
        pca = PCA.fit(train, max_components=num_bits)
        net = self.fit_hash(to_float(train.images).flatten(1), num_bits, context.seed)
        return {
            "pixels": (x.flatten(1), x_base.flatten(1)),
            "codes": (code_vectors(trained, x), code_vectors(trained, x_base)),
            "PCA signs": (to_bits(pca.encode(x)), to_bits(pca.encode(x_base))),
            "semantic hash": (to_bits(encode(net, x)), to_bits(encode(net, x_base))),
        }

    def fit_hash(self, x: Tensor, num_bits: int, seed: int) -> HashAutoencoder:
        """Fit to flat images x (N, P)."""
        with seeded(seed):
            hidden = min(self.hidden, 2 * x.shape[1])
            net = HashAutoencoder(
                x.shape[1], hidden=hidden, num_bits=num_bits, noise_std=self.noise_std
            )
            fit(net, net.loss, (x,), steps=self.steps, lr=self.lr, seed=seed)
        return net


@torch.inference_mode()
def encode(net: HashAutoencoder, x: Tensor) -> Tensor:
    return torch.cat([net.encoder(part) for part in x.flatten(1).split(2000)])


def to_bits(z: Tensor) -> Tensor:
    """Codes → 0.0 and 1.0. The squared distance of two codes is the number of different bits."""
    return (z > 0).float()


def constant_bits(bits: Tensor) -> list[str]:
    """A warning if some of the bits (N, D) are equal for all images."""
    count = int((bits == bits[0]).all(0).sum())
    return [f"{count} of {bits.shape[1]} bits are constant"] if count else []


def mean_average_precision(distance: Tensor, queries: Split, base: Split) -> float:
    """mAP in [0, 1] for distances (Q, N), without queries whose class is not in the database."""
    base_labels = labels_of(base)
    precisions = [
        average_precision(-row, base_labels == label)
        for row, label in zip(distance, labels_of(queries), strict=True)
        if bool((base_labels == label).any())
    ]
    return sum(precisions) / max(1, len(precisions))


def precision(distance: Tensor, queries: Split, base: Split, k: int) -> float:
    """Fraction of the k nearest images with the query's class, for distances (Q, N).

    Among equal distances, the order is that of the database.
    """
    nearest = distance.argsort(dim=1, stable=True)[:, :k]
    relevant = torch.eq(labels_of(base)[nearest], labels_of(queries)[:, None])
    return float(relevant.double().mean())


def make_figure(name: str, distance: Tensor, queries: Split, base: Split) -> Figure:
    rows = nearest_images(distance, queries, base)
    return Figure(
        _key(name),
        f"Queries (first column) and the nearest images: {name}",
        partial(save_rows, rows),
    )


def nearest_images(distance: Tensor, queries: Split, base: Split) -> Tensor:
    """Images (NUM_SHOWN, 1 + NUM_NEIGHBORS, C, H, W): a query, then its nearest images."""
    nearest = distance[:NUM_SHOWN].argsort(dim=1, stable=True)[:, :NUM_NEIGHBORS]
    x = to_float(queries.images[: len(nearest)])
    return torch.cat([x[:, None], to_float(base.images[nearest])], 1)


def _key(name: str) -> str:
    return name.replace(" ", "_").lower()
