"""Retrieval: the nearest images by code, and by codes of a few bits.

Semantic hashing trains an autoencoder whose code must survive noise before a logistic unit,

    b = σ(f(x) + ε)      ε ~ N(0, σ² I)      min Σ_pixels (x̂(b) − x)²

so that f(x) learns to be large and b nearly binary; then b_d = 1 where f_d(x) > 0, and images are
compared by the number of bits that differ. The baselines are the signs of as many principal
components, and pixels. Judged by the mean over queries of average precision, relevant being what
has the query's class; the model itself never sees a class.

Salakhutdinov & Hinton 2009, "Semantic hashing".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.pca import PCA
from latentlab.metrics.ranking import average_precision
from latentlab.nets.mlp import mlp
from latentlab.plots import save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit

SHOWN, NEIGHBOURS = 10, 9  # rows of a picture, and images beside each query
HASHES = ("PCA signs", "semantic hash")
TEXT = (
    "{:,} test images look for their class among {:,} training images, none of which told its"
    " class. mAP is the mean over queries of the average precision. Both hashes have {:.0f} bits"
    " and count the bits that differ; pixels and the codes of {} are numbers of 32 bits, compared"
    " by Euclidean distance."
)

Pair = tuple[Tensor, Tensor]


class HashAutoencoder(nn.Module):
    """Flat images (B, P) → f(x) (B, D) before the logistic unit → x̂ (B, P)."""

    def __init__(self, pixels: int, *, hidden: int, bits: int, noise: float) -> None:
        super().__init__()
        self.noise = noise  # σ
        self.encoder = mlp([pixels, hidden, hidden // 2, bits])
        self.decoder = mlp([bits, hidden // 2, hidden, pixels])

    def loss(self, x: Tensor) -> Tensor:
        logits = self.encoder(x)
        b = (logits + self.noise * torch.randn_like(logits)).sigmoid()
        return squared_error(self.decoder(b).sigmoid(), x).mean()


@dataclass(frozen=True)
class Retrieval(Task):
    """`queries` test images look among at most `database` training images.

    The hash is P-`hidden`-`hidden`/2-`bits` for P pixels (2 P units if that is less, and at most
    P / 2 bits); it trains `steps` batches of 128 with `noise` σ at Adam's rate `lr`, falling to 0.
    """

    queries: int = 1000
    database: int = 20000
    bits: int = 32
    hidden: int = 512
    noise: float = 4.0
    steps: int = 4000
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.queries, self.database, self.bits, self.steps) < 1 or self.noise < 0:
            raise LatentlabError(
                f"queries {self.queries}, database {self.database}, bits {self.bits} and steps"
                f" {self.steps} must be at least 1, noise {self.noise} not negative"
            )

    def run(self, context: Context) -> Finding:
        trained = context.trained
        if context.meta.num_classes < 2 or not trained.has_encoder:
            raise LatentlabError(
                f"{trained.name} on these data cannot be judged by what it finds: the task needs"
                " classes and a model with an encoder; leave it out of params.yaml"
            )
        train, test = context.yard.train, context.yard.test.first(self.queries)
        base = train.first(self.database)
        spaces = self.spaces(context, to_float(test.images), to_float(base.images))
        near = {name: torch.cdist(*pair) for name, pair in spaces.items()}  # (Q, N)
        table = {
            name: {
                "mAP": mean_average_precision(distance, test, base),
                "precision at 10": precision(distance, test, base, 10),
                "bits": float(spaces[name][0].shape[1] * (1 if name in HASHES else 32)),
            }
            for name, distance in near.items()
        }
        return Finding(
            title="Retrieval and hashing",
            text=TEXT.format(len(test), len(base), table[HASHES[0]]["bits"], trained.name),
            numbers={
                f"{name.replace(' ', '_').lower()}_{number}": row[column]
                for name, row in table.items()
                for number, column in (("map", "mAP"), ("precision_at_10", "precision at 10"))
            },
            table=table,
            pictures=[
                Picture(
                    name.replace(" ", "_").lower(),
                    f"A query, and its nearest by {name}",
                    partial(save_rows, neighbours(distance, test, base)),
                )
                for name, distance in near.items()
            ],
            flags=idle(spaces["semantic hash"][1]),
        )

    def spaces(self, context: Context, x: Tensor, x_base: Tensor) -> dict[str, Pair]:
        """Where distances are taken: queries (Q, F) and database (N, F), by name."""
        train, trained = context.yard.train, context.trained
        bits = min(self.bits, x[0].numel() // 2)
        pca = PCA.fit(train, max_components=bits)
        net = self.hashing(to_float(train.images).flatten(1), bits, context.seed)
        return {
            "pixels": (x.flatten(1), x_base.flatten(1)),
            "codes": (trained.encode(x), trained.encode(x_base)),
            "PCA signs": (signs(pca.encode(x)), signs(pca.encode(x_base))),
            "semantic hash": (signs(encoded(net, x)), signs(encoded(net, x_base))),
        }

    def hashing(self, x: Tensor, bits: int, seed: int) -> HashAutoencoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hidden = min(self.hidden, 2 * x.shape[1])
            net = HashAutoencoder(x.shape[1], hidden=hidden, bits=bits, noise=self.noise)
            fit(net, net.loss, (x,), steps=self.steps, lr=self.lr, seed=seed)
        return net


@torch.inference_mode()
def encoded(net: HashAutoencoder, x: Tensor) -> Tensor:
    return torch.cat([net.encoder(part) for part in x.flatten(1).split(2000)])


def signs(z: Tensor) -> Tensor:
    """Codes → bits as 0.0 and 1.0: their squared distance is the number that differs."""
    return (z > 0).float()


def idle(bits: Tensor) -> list[str]:
    """An alarm where bits (N, D) are the same for every image."""
    same = int((bits == bits[0]).all(0).sum())
    return [f"{same} of {bits.shape[1]} bits never change"] if same else []


def mean_average_precision(distance: Tensor, queries: Split, base: Split) -> float:
    """Of distances (Q, N); queries whose class is not in the database are left out."""
    assert queries.labels is not None
    assert base.labels is not None
    found = [
        average_precision(-row, base.labels == label)
        for row, label in zip(distance, queries.labels, strict=True)
        if bool((base.labels == label).any())
    ]
    return sum(found) / max(1, len(found))


def precision(distance: Tensor, queries: Split, base: Split, k: int) -> float:
    """Share of the k nearest that have the query's class; ties go to the first in the database."""
    assert queries.labels is not None
    assert base.labels is not None
    nearest = distance.argsort(dim=1, stable=True)[:, :k]
    return float(torch.eq(base.labels[nearest], queries.labels[:, None]).double().mean())


def neighbours(distance: Tensor, queries: Split, base: Split) -> Tensor:
    """Images (SHOWN, 1 + NEIGHBOURS, C, H, W): a query, then its nearest."""
    nearest = distance[:SHOWN].argsort(dim=1, stable=True)[:, :NEIGHBOURS]
    x = to_float(queries.images[: len(nearest)])
    return torch.cat([x[:, None], to_float(base.images[nearest])], 1)
