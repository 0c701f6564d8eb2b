"""Precision, recall, density and coverage from k-nearest-neighbour balls.

B_k(x) is the closed ball around x whose radius is the distance to the k-th nearest neighbour of x
in x's own set.

Precision and recall: Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing
generative models", eqs. 1 and 2. Density and coverage: Naeem et al. 2020, "Reliable fidelity and
diversity metrics for generative models", section 3, here also with closed balls.

The default is k = 5. Kynkäänniemi et al. have k = 3 and 50,000 images of each kind, so their values
are no reference for ours.

docs/metrics-elsewhere.md compares it with other packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.utils.errors import LatentlabError

_TILE = 1000  # rows and columns of the distance matrix in memory: 4 MB, for a processor's cache
_GROUPS = 8  # see _smallest


def prdc(real: Tensor, fake: Tensor, *, k: int = 5) -> dict[str, float]:
    """Compare features `real` (N, F) and `fake` (M, F). Higher is better in all four metrics.

    - precision: fraction of fakes inside at least one real ball, in [0, 1]
    - recall: fraction of reals inside at least one fake ball, in [0, 1]
    - density: mean over fakes of (number of real balls that contain it) / k, in [0, N / k]
    - coverage: fraction of reals whose ball contains a fake, in [0, 1]

    Distances are float32 in tiles of the distance matrix, so that memory stays small.

    Raises:
        LatentlabError: different F, features that are not finite, or k outside 1…min(N, M) − 1.
    """
    real, fake = _centred(real, fake, k)
    real_radius, fake_radius = _squared_radii(real, k), _squared_radii(fake, k)

    # d² − r² ≤ 0 inside of a ball: minima of numbers take less time than `any` of truth values
    fake_margin = torch.full_like(fake_radius, torch.inf)  # the least over the real balls
    real_margin = torch.full_like(real_radius, torch.inf)  # of the own ball: least over the fakes
    fake_ball_margin = torch.full_like(real_radius, torch.inf)  # the least over the fake balls
    balls_hit = 0
    for rows, columns, squared in _tiles(real, fake, product):
        _lower(fake_ball_margin[rows], (squared - fake_radius[columns]).amin(1))
        margins = squared.sub_(real_radius[rows, None])
        nearest = margins.amin(1)
        _lower(real_margin[rows], nearest)
        margins = margins[nearest <= 0]  # the balls with at least one fake
        if len(margins):
            _lower(fake_margin[columns], margins.amin(0))
            balls_hit += int((margins <= 0).count_nonzero())
    return {
        "precision": int((fake_margin <= 0).count_nonzero()) / len(fake),
        "recall": int((fake_ball_margin <= 0).count_nonzero()) / len(real),
        "density": balls_hit / (k * len(fake)),
        "coverage": int((real_margin <= 0).count_nonzero()) / len(real),
    }


def in_real_ball(real: Tensor, fake: Tensor, *, k: int = 5) -> Tensor:
    """Where a fake lies in the ball of at least one real image, bool (M,). Its mean is precision.

    Raises:
        LatentlabError: as `prdc`.
    """
    real, fake = _centred(real, fake, k)
    radius = _squared_radii(real, k)
    margin = fake.new_full((len(fake),), torch.inf)
    for rows, columns, squared in _tiles(real, fake, product):
        _lower(margin[columns], squared.sub_(radius[rows, None]).amin(0))
    return margin <= 0


def _centred(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Both sets as float32, without their common mean. Raise LatentlabError if they are invalid.

    Distances do not depend on a common shift, but their rounding errors do.
    """
    if k < 1:
        raise LatentlabError(f"k is {k}. A ball needs at least 1 neighbour. Use k = 5.")
    real = check_features(real, name="The real features", at_least=k + 1)
    fake = check_features(fake, name="The fake features", at_least=k + 1)
    if real.shape[1] != fake.shape[1]:
        raise LatentlabError(
            f"Features have sizes {real.shape[1]} and {fake.shape[1]}. Both sizes must be equal. "
            "Extract both sides with the same network."
        )
    centre = real.to(torch.float64).mean(dim=0)
    real, fake = ((x.to(torch.float64) - centre).to(torch.float32) for x in (real, fake))
    return real, fake


def _tiles(
    a: Tensor, b: Tensor, pairs: Callable[[range, range], Iterable[tuple[int, int]]]
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows of a, rows of b, squared distances) of `pairs` of tiles.

    Each tile overwrites the last. Rounding makes some distances of equal points negative.
    """
    a_norms, b_norms = (x.square().sum(dim=1) for x in (a, b))
    buffer = torch.empty(_TILE * _TILE, dtype=a.dtype, device=a.device)
    for i, j in pairs(range(0, len(a), _TILE), range(0, len(b), _TILE)):
        rows, columns = slice(i, min(i + _TILE, len(a))), slice(j, min(j + _TILE, len(b)))
        shape = rows.stop - i, columns.stop - j
        tile = buffer[: shape[0] * shape[1]].view(shape)
        torch.add(a_norms[rows, None], b_norms[columns], out=tile)
        yield rows, columns, tile.addmm_(a[rows], b[columns].T, alpha=-2)


def _lower(minimum: Tensor, x: Tensor) -> None:
    torch.minimum(minimum, x, out=minimum)


def _squared_radii(points: Tensor, k: int) -> Tensor:
    """Squared distance (N,) from each point to its k-th nearest other point.

    Distances are symmetric: half of the tiles suffice.
    """
    nearest = points.new_full((len(points), k), torch.inf)

    def add(rows: slice, squared: Tensor) -> None:
        found = torch.cat([nearest[rows], _smallest(squared, k)], 1)
        nearest[rows] = found.topk(k, largest=False).values

    def half(a: range, _: range) -> Iterable[tuple[int, int]]:
        return combinations_with_replacement(a, 2)

    for rows, columns, squared in _tiles(points, points, half):
        if rows == columns:
            squared.fill_diagonal_(torch.inf)  # a point is not its own neighbour
        else:
            add(columns, squared.T)
        add(rows, squared)
    return nearest[:, -1].clamp_min(0)


def _smallest(x: Tensor, k: int) -> Tensor:
    """The k smallest values of each row of x (R, N), or all if N < k: (R, min(k, N)).

    They are in the k groups of columns with the smallest minima, so only these are sorted.
    """
    width = x.shape[1] // _GROUPS
    if width <= k:
        return x.topk(min(k, x.shape[1]), largest=False).values
    groups = x[:, : width * _GROUPS].unflatten(1, (_GROUPS, width))  # a group: every width-th value
    nearest = groups.amin(1).topk(k, largest=False).indices  # (R, k)
    found = groups.gather(2, nearest[:, None].expand(-1, _GROUPS, -1)).flatten(1)
    rest = x[:, width * _GROUPS :]
    return torch.cat([found, rest], 1).topk(k, largest=False).values
