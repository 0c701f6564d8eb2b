"""How much an FID depends on the number of samples and on the choice of the real images."""

from __future__ import annotations

import torch
from torch import Tensor

from latentlab.metrics.fid.frechet import GaussianStatistics, fid
from latentlab.utils.errors import LatentlabError

NUM_SIZES = 5  # numbers of samples of the extrapolation
NUM_SUBSETS = 3  # subsets for each
SMALLEST = 4  # the smallest number of samples is a fourth of all


def half_sample_fids(real: Tensor, fake: Tensor, *, splits: int, seed: int) -> Tensor:
    """FIDs (2 · splits,) of all fakes (M, F) against both halves of `splits` random splits of real.

    The standard deviation over halves estimates the error of the FID by the choice of the N real
    images: for halves without repetition, the variance is that of all N images (the jackknife that
    deletes half: Shao & Wu 1989, "A general theory for jackknife variance estimation"). A bootstrap
    would be wrong: repeated images raise an FID. Two models that are compared with the same seed
    have the same halves, so their differences are paired.

    Raises:
        LatentlabError: fewer than 4 real images, or features that `fid` refuses.
    """
    count = len(real)
    if count < 4:
        raise LatentlabError(
            f"There are {count} real images. Half of them must be at least 2. Evaluate on more"
            " images."
        )
    generator, all_fakes = torch.Generator().manual_seed(seed), GaussianStatistics.of(fake)
    values: list[float] = []
    for _ in range(splits):
        order = torch.randperm(count, generator=generator)
        values += [fid(real[half], all_fakes) for half in order[: count // 2 * 2].chunk(2)]
    return torch.tensor(values, dtype=torch.float64)


def extrapolated_fid(real: Tensor, fake: Tensor, *, seed: int) -> float:
    """The FID of infinitely many samples, from the M that there are.

    The FID of N samples falls as a + b/N. A line through FIDs at five N, evenly spaced in 1/N from
    M/4 to M, gives a (Chong & Forsyth 2020, "Effectively unbiased FID and Inception Score and where
    to find them", section 3). Each N is the mean over three random subsets. The real images stay
    the same, so the bias by their number remains. The result can be below 0.

    Raises:
        LatentlabError: fewer than 8 samples, or features that `fid` refuses.
    """
    most = len(fake)
    if most < 2 * SMALLEST:
        raise LatentlabError(
            f"There are {most} samples. The extrapolation needs at least {2 * SMALLEST}. Generate"
            " more samples."
        )
    generator, statistics = torch.Generator().manual_seed(seed), GaussianStatistics.of(real)
    inverse = torch.linspace(SMALLEST / most, 1 / most, NUM_SIZES, dtype=torch.float64)
    sizes = inverse.reciprocal().round().to(torch.int64)
    means = []
    for size in sizes.tolist():
        subsets = 1 if size == most else NUM_SUBSETS
        orders = (torch.randperm(most, generator=generator)[:size] for _ in range(subsets))
        means.append(sum(fid(statistics, fake[order]) for order in orders) / subsets)
    design = torch.stack([torch.ones(NUM_SIZES, dtype=torch.float64), 1 / sizes.double()], 1)
    return float(torch.linalg.lstsq(design, torch.tensor(means, dtype=torch.float64)).solution[0])
