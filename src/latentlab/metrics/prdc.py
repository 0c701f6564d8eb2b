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

from collections.abc import Iterator

import torch
from torch import Tensor

from latentlab.metrics.fid.features import check_features
from latentlab.utils.errors import LatentlabError

_BLOCK = 200  # rows of the distance matrix in memory: 8 MB for 10k points
_GROUPS = 8  # see _smallest


def prdc(real: Tensor, fake: Tensor, *, k: int = 5) -> dict[str, float]:
    """Compare features `real` (N, F) and `fake` (M, F). Higher is better in all four metrics.

    - precision: fraction of fakes inside at least one real ball, in [0, 1]
    - recall: fraction of reals inside at least one fake ball, in [0, 1]
    - density: mean over fakes of (number of real balls that contain it) / k, in [0, N / k]
    - coverage: fraction of reals whose ball contains a fake, in [0, 1]

    Distances are float32 in blocks of rows, so that memory stays small.

    Raises:
        LatentlabError: different F, features that are not finite, or k outside 1…min(N, M) − 1.
    """
    real, fake = _centred(real, fake, k)
    real_radius, fake_radius = _squared_radii(real, k), _squared_radii(fake, k)

    # d² − r² ≤ 0 inside of a ball: minima of numbers take less time than `any` of truth values
    margin = torch.full_like(fake_radius, torch.inf)  # (M,), the least over the real balls
    balls_hit = reals_recalled = reals_covered = 0
    for rows, squared in _squared_distances(real, fake):
        reals_recalled += int(((squared - fake_radius).amin(1) <= 0).count_nonzero())
        margins = squared.sub_(real_radius[rows, None])
        margin = torch.minimum(margin, margins.amin(0))
        reals_covered += int((margins.amin(1) <= 0).count_nonzero())
        balls_hit += int((margins <= 0).count_nonzero())
    return {
        "precision": int((margin <= 0).count_nonzero()) / len(fake),
        "recall": reals_recalled / len(real),
        "density": balls_hit / (k * len(fake)),
        "coverage": reals_covered / len(real),
    }


def in_real_ball(real: Tensor, fake: Tensor, *, k: int = 5) -> Tensor:
    """Where a fake lies in the ball of at least one real image, bool (M,). Its mean is precision.

    Raises:
        LatentlabError: as `prdc`.
    """
    real, fake = _centred(real, fake, k)
    radius = _squared_radii(real, k)
    margin = fake.new_full((len(fake),), torch.inf)
    for rows, squared in _squared_distances(real, fake):
        margin = torch.minimum(margin, squared.sub_(radius[rows, None]).amin(0))
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


def _squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows of a, squared distances (rows, len(b))). Each block overwrites the last."""
    a_norms, b_norms = (x.square().sum(dim=1) for x in (a, b))
    buffer = torch.empty(min(_BLOCK, len(a)), len(b), dtype=a.dtype, device=a.device)
    for start in range(0, len(a), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(a)))
        block = buffer[: rows.stop - start]
        torch.addmm(b_norms, a[rows], b.T, alpha=-2, out=block)
        yield rows, block.add_(a_norms[rows, None]).clamp_min_(0)


def _squared_radii(points: Tensor, k: int) -> Tensor:
    """Squared distance (N,) from each point to its k-th nearest other point."""
    radii = torch.empty(len(points), dtype=points.dtype, device=points.device)
    for rows, squared in _squared_distances(points, points):
        squared[:, rows].fill_diagonal_(torch.inf)  # a point is not its own neighbour
        radii[rows] = _smallest(squared, k)
    return radii


def _smallest(x: Tensor, k: int) -> Tensor:
    """The k-th smallest value of each row of x (R, N): (R,).

    The k smallest values are in the k groups of columns with the smallest minima, so only these
    are sorted.
    """
    width = x.shape[1] // _GROUPS
    if width <= k:
        return x.topk(k, largest=False).values[:, -1]
    groups = x[:, : width * _GROUPS].unflatten(1, (_GROUPS, width))  # a group: every width-th value
    nearest = groups.amin(1).topk(k, largest=False).indices  # (R, k)
    found = groups.gather(2, nearest[:, None].expand(-1, _GROUPS, -1)).flatten(1)
    rest = x[:, width * _GROUPS :]
    return torch.cat([found, rest], 1).topk(k, largest=False).values[:, -1]
