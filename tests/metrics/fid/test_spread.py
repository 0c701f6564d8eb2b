"""The error of an FID by the real images, and its extrapolation, on Gaussians with known FID."""

import numpy as np
import pytest
import torch

from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.fid.spread import extrapolated_fid, half_sample_fids
from latentlab.utils.errors import LatentlabError


def normal(count, size, seed, *, shift=0.0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def test_half_samples_estimate_the_spread_over_real_sets():
    fake = normal(4000, 6, 0, shift=0.5)
    over_sets = torch.tensor([fid(normal(400, 6, 100 + n), fake) for n in range(60)])
    halves = torch.stack(
        [
            half_sample_fids(normal(400, 6, 300 + n), fake, splits=15, seed=n).std()
            for n in range(10)
        ]
    )
    assert float(halves.mean()) == pytest.approx(float(over_sets.std()), rel=0.3)


def test_the_halves_of_one_seed_are_those_of_every_model():
    real = normal(41, 3, 1)
    first = half_sample_fids(real, normal(200, 3, 2), splits=4, seed=5)
    assert first.shape == (8,)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(5))
    assert float(first[1]) == pytest.approx(fid(real[order[20:40]], normal(200, 3, 2)))
    assert not torch.equal(first, half_sample_fids(real, normal(200, 3, 2), splits=4, seed=6))


def test_the_extrapolation_has_less_bias_than_any_number_of_samples():
    """Equal Gaussians: the true distance to these real images is that of infinitely many."""
    real = normal(2000, 16, 0)
    exact = fid(real, normal(200_000, 16, 1))
    values = [normal(800, 16, 10 + n) for n in range(12)]
    plain = sum(fid(real, fake) for fake in values) / 12
    extrapolated = sum(extrapolated_fid(real, fake, seed=0) for fake in values) / 12
    assert plain > 2 * exact
    assert extrapolated == pytest.approx(exact, abs=0.25 * (plain - exact))


def test_errors():
    real = normal(50, 3, 0)
    with pytest.raises(LatentlabError, match=r"3 real images.*Half of them.*more images"):
        half_sample_fids(real[:3], real, splits=2, seed=0)
    assert half_sample_fids(real[:4, :1], real[:, :1], splits=2, seed=0).isfinite().all()
    with pytest.raises(LatentlabError, match=r"5 samples.*at least 8"):
        extrapolated_fid(real, real[:5], seed=0)
    with pytest.raises(LatentlabError, match=r"7 samples.*at least 8"):
        extrapolated_fid(real, real[:7], seed=0)


@pytest.mark.parametrize("count", [8, 50])
def test_the_extrapolation_is_a_line_through_five_numbers_of_samples(count):
    real, fake = normal(60, 1, 0), normal(count, 1, 1, shift=0.3)
    generator, inverse, means = torch.Generator().manual_seed(7), [], []
    for share in (4, 3.25, 2.5, 1.75, 1):
        size = round(count / share)
        draws = [
            fid(real, fake[torch.randperm(count, generator=generator)[:size]])
            for _ in range(1 if share == 1 else 3)
        ]
        inverse.append(1 / size)
        means.append(np.mean(draws))
    expected = np.polyfit(inverse, means, 1)[1]
    assert extrapolated_fid(real, fake, seed=7) == pytest.approx(expected, rel=1e-9)
