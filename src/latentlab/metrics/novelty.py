"""Are samples copies of training images? Authenticity, C_T, and the fraction near training images.

With training images T, held-out images P and samples Q, as features, and d the Euclidean distance:

    authenticity  = fraction of q with d(q, t*) > min over t ≠ t* of d(t*, t), t* the nearest of T
    C_T           = mean over cells of T of (U − nm/2) / √(nm (n + m + 1) / 12), weighted by P
    nearer train  = fraction of q whose nearest image in T ∪ P is in T

U is the Mann-Whitney statistic of the distances d(q, T) and d(p, T) in a cell. Below −3, samples
lie nearer to the training images than held-out images do: they are copied.

Alaa et al. 2022, "How faithful is your synthetic data?", section 3.3. Meehan, Chaudhuri & Dasgupta
2020, "A non-parametric test to detect data-copying in generative models", section 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.utils.errors import LatentlabError

NUM_CELLS, MIN_IN_CELL, KMEANS_STEPS = 10, 10, 20
MIN_AUTHENTICITY = 0.35
MAX_EXCESS = 0.5  # of nearer train, above its value without copies, as a fraction of the rest
_BLOCK = 1000  # rows of the distance matrix in memory


def novelty(train: Tensor, held_out: Tensor, fake: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Compare features of training images (T, F), held-out images (P, F) and samples (Q, F).

    - authenticity: in [0, 1]. Copies have 0, held-out images about 0.5. A high value is no praise:
      noise has 1.
    - ct: about 0 for held-out images, below −3 for copies, above 3 for samples that are farther
      from the training images than held-out images are. Absent if no cell has 10 of P and of Q.
    - nearer_train_fraction: in [0, 1]; T / (T + P) if nothing is copied.

    Raises:
        LatentlabError: different F, features that are not finite, or fewer than 2 rows.
    """
    train, held_out, fake = _checked(train, held_out, fake)
    to_train, index = nearest(fake, train)
    held_to_train, _ = nearest(held_out, train)
    to_held_out, _ = nearest(fake, held_out)
    spacing, _ = nearest(train, train, same=True)
    found = {
        "authenticity": float((to_train > spacing[index]).double().mean()),
        "nearer_train_fraction": float((to_train < to_held_out).double().mean()),
    }
    ct = _ct(train, (held_out, held_to_train), (fake, to_train), seed=seed)
    return found if math.isnan(ct) else {**found, "ct": ct}


def is_copying(found: dict[str, float], *, num_train: int, num_held_out: int) -> bool:
    """True if the samples are copies of training images, by both authenticity and nearer train.

    One of them alone is not enough: blurred samples lie near everything.
    """
    expected = num_train / (num_train + num_held_out)
    excess = (found["nearer_train_fraction"] - expected) / (1 - expected)
    return found["authenticity"] < MIN_AUTHENTICITY and excess > MAX_EXCESS


def nearest(x: Tensor, others: Tensor, *, same: bool = False) -> tuple[Tensor, Tensor]:
    """Distance (N,) from each x (N, F) to the nearest of `others` (M, F), and its index (N,).

    `same`: both are one set, and a point is not its own neighbour.
    """
    distances, indices = [], []
    for start in range(0, len(x), _BLOCK):
        block = torch.cdist(x[start : start + _BLOCK], others)
        if same:
            rows = torch.arange(len(block))
            block[rows, start + rows] = torch.inf
        least = block.min(dim=1)
        distances.append(least.values)
        indices.append(least.indices)
    return torch.cat(distances), torch.cat(indices)


def _checked(*sets: Tensor) -> list[Tensor]:
    """The sets as float32, with the mean of the first subtracted: less rounding in distances."""
    names = ("The training features", "The held-out features", "The features of samples")
    checked = [check_features(x, name=n, at_least=2) for x, n in zip(sets, names, strict=True)]
    if len({x.shape[1] for x in checked}) > 1:
        raise LatentlabError(
            f"Features have sizes {', '.join(str(x.shape[1]) for x in checked)}. All sizes must be"
            " equal. Extract all of them with the same network."
        )
    centre = checked[0].to(torch.float64).mean(0)
    return [(x.to(torch.float64) - centre).to(torch.float32) for x in checked]


def _ct(
    train: Tensor, held_out: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], *, seed: int
) -> float:
    """C_T of (features, distances to the training images) of both sets; NaN without a cell."""
    cells = kmeans(train, NUM_CELLS, seed=seed)
    in_cell_p, in_cell_q = (nearest(x, cells)[1] for x, _ in (held_out, fake))
    total, weight = 0.0, 0
    for cell in range(len(cells)):
        p, q = held_out[1][in_cell_p == cell], fake[1][in_cell_q == cell]
        if min(len(p), len(q)) >= MIN_IN_CELL:
            total += len(p) * z_score(q, p)
            weight += len(p)
    return total / weight if weight else math.nan


def z_score(q: Tensor, p: Tensor) -> float:
    """Standardised Mann-Whitney statistic: > 0 if the values q (n,) are larger than p (m,)."""
    n, m = len(q), len(p)
    _, place, counts = torch.cat([q, p]).unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2  # equal values share their mean rank
    u = float(ranks[place[:n]].double().sum()) - n * (n + 1) / 2
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def kmeans(x: Tensor, count: int, *, seed: int) -> Tensor:
    """Centres (≤ count, F) of x (N, F): k-means++ (Arthur & Vassilvitskii 2007), then Lloyd."""
    generator = torch.Generator().manual_seed(seed)
    count = min(count, len(x))
    centres = x[torch.randint(len(x), (1,), generator=generator)]
    while len(centres) < count:
        squared = nearest(x, centres)[0].double().square()
        if not squared.sum() > 0:
            break  # fewer different points than centres
        chosen = torch.multinomial(squared, 1, generator=generator)
        centres = torch.cat([centres, x[chosen]])
    for _ in range(KMEANS_STEPS):
        cell = nearest(x, centres)[1]
        sums = torch.zeros_like(centres).index_add_(0, cell, x)
        sizes = cell.bincount(minlength=len(centres))[:, None]
        centres = torch.where(sizes > 0, sums / sizes, centres)
    return centres
