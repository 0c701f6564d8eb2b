"""Regions of samplers: their borders, compared with scipy, and codes that stay as they are."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import chi

from latentlab.contracts import CodePart, StructuredSampler
from latentlab.samplers import (
    AutoregressivePrior,
    ClassConditional,
    FittedGaussian,
    FittedMixture,
    IndependentCategorical,
    InfoGANPrior,
    StandardNormal,
    TwoStageVAE,
    Uniform,
)
from latentlab.samplers.projection import project_parts, shrink, typical_radius

DIM = 9


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def with_classes(sampler, classes=4, continuous=2):
    sampler.num_classes, sampler.num_continuous = classes, continuous
    return sampler


def clusters():
    """Codes (600, 9) of two Gaussians with different covariances."""
    z = torch.randn(600, DIM, generator=seeded(1))
    mix = torch.randn(2, DIM, DIM, generator=seeded(2))
    return torch.cat([z[:300] @ mix[0], 30 + z[300:] @ mix[1]])


def one_cluster():
    mix = torch.randn(DIM, DIM, generator=seeded(2))
    return torch.randn(2000, DIM, generator=seeded(1)) @ mix


def fitted(sampler, codes):
    sampler.fit(codes)
    return sampler


@cache
def built():
    """One sampler of each kind, fitted once."""
    indices = torch.randint(6, (300, DIM), generator=seeded()).float()
    return {
        "gaussian": StandardNormal(),
        "uniform": Uniform(),
        "class": with_classes(ClassConditional()),
        "infogan": with_classes(InfoGANPrior()),
        "fitted": fitted(FittedGaussian(), clusters()),
        "mixture": fitted(FittedMixture(2), clusters()),
        "two_stage": fitted(TwoStageVAE(hidden=64, steps=300), one_cluster()),
        "indices": fitted(IndependentCategorical(), indices),
        "autoregressive": fitted(AutoregressivePrior(hidden=8, steps=5), indices),
    }


SIZES = {
    "gaussian": [("gaussian", 9)],
    "uniform": [("uniform", 9)],
    "class": [("gaussian", 5), ("one_hot", 4)],
    "infogan": [("gaussian", 3), ("uniform", 2), ("one_hot", 4)],
    "fitted": [("fitted", 9)],
    "mixture": [("fitted", 9)],
    "two_stage": [("fitted", 9)],
    "indices": [("indices", 9)],
    "autoregressive": [("indices", 9)],
}


@pytest.mark.parametrize("name", SIZES)
def test_parts_have_the_sizes_of_the_code(name):
    sampler = built()[name]
    assert isinstance(sampler, StructuredSampler)
    assert sampler.parts(DIM) == tuple(CodePart(*part) for part in SIZES[name])


@pytest.mark.parametrize("name", SIZES)
def test_samples_are_inside_with_the_probability_of_the_border(name):
    sampler = built()[name]
    z = sampler.sample((4000, DIM), seeded(3))
    moved = (sampler.project(z) - z).abs().amax(1) > 1e-4 * z.abs().amax(1)
    exact = name in ("uniform", "indices", "autoregressive")
    # of the second VAE: u is not known, only its posterior mean; u and ε have one border each
    expected = 0 if exact else 0.01
    most = 0.05 if name == "two_stage" else expected + 4 * (expected / 4000) ** 0.5
    assert moved.double().mean() <= most
    assert exact or name == "two_stage" or moved.double().mean() > 0.004


@pytest.mark.parametrize("name", [name for name in SIZES if name != "two_stage"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_second_projection_changes_nothing_and_types_stay(name, dtype):
    far = (20 * torch.randn(50, DIM, generator=seeded(4))).to(dtype)
    once = built()[name].project(far)
    assert once.dtype == dtype
    assert once.shape == far.shape
    assert not torch.allclose(once, far)
    torch.testing.assert_close(built()[name].project(once), once, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 9, 64, 100, 1000])
def test_the_radius_is_the_99_percent_quantile_of_chi(dim):
    assert typical_radius(dim) == pytest.approx(chi.ppf(0.99, dim), rel=1e-6)


def test_only_rows_beyond_the_radius_are_scaled():
    z = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    expected = torch.tensor([[1.2, 1.6], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(shrink(z, 2.0), expected)


@pytest.mark.parametrize("name", ["fitted", "mixture"])
def test_fitted_codes_end_on_the_ellipsoid_of_the_nearest_gaussian(name):
    sampler = built()[name]
    far = 60 * torch.randn(40, DIM, generator=seeded(5), dtype=torch.float64) + 15
    found = sampler.project(far).numpy()
    covariances = (sampler.factors @ sampler.factors.mT).numpy()
    norms = lambda z: np.array(  # noqa: E731
        [
            np.sqrt(np.einsum("nd,de,ne->n", z - m, np.linalg.inv(c), z - m))
            for m, c in zip(sampler.means.numpy(), covariances, strict=True)
        ]
    )
    before, after = norms(far.numpy()), norms(found)
    nearest = before.argmin(0)
    assert (before.min(0) > chi.ppf(0.99, DIM)).all()
    np.testing.assert_allclose(after[nearest, np.arange(40)], chi.ppf(0.99, DIM), rtol=1e-6)
    mean = sampler.means.numpy()[nearest]
    ratio = (found - mean) / (far.numpy() - mean)
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(DIM, 1), rtol=1e-6)
    assert len(set(nearest)) == len(sampler.means)


def test_indices_are_rounded_and_stay_in_the_codebook():
    z = torch.tensor([[-3.0, 0.4, 2.6, 5.2, 99.0, 1.0, 2.0, 3.0, 4.0]])
    expected = [0, 0, 3, 5, 5, 1, 2, 3, 4]
    for name in ("indices", "autoregressive"):
        assert built()[name].project(z).tolist() == [expected]


def test_a_two_stage_code_has_both_of_its_noises_inside():
    sampler, radius = built()["two_stage"], chi.ppf(0.99, DIM)
    z = 300 * torch.randn(40, DIM, generator=seeded(6))
    with torch.no_grad():
        found = (sampler.project(z) - sampler.mean) / sampler.scale
        u = sampler.encoder((z - sampler.mean) / sampler.scale)[:, :DIM]
        norm = u.norm(dim=1, keepdim=True)
        centre = sampler.decoder(u / norm * norm.clamp_max(radius))
    residual = (found - centre).norm(dim=1) / sampler.log_scale.exp()
    torch.testing.assert_close(residual, torch.full((40,), radius).float(), rtol=1e-3, atol=0)


def test_a_part_without_a_projection_of_its_own_is_an_error():
    with pytest.raises(ValueError, match=r"'fitted', which has no projection.*Write `project`"):
        project_parts(torch.zeros(1, 2), [CodePart("fitted", 2)])
