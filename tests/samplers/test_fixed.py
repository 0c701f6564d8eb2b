"""Fixed priors follow their distribution and learn nothing."""

import pytest
import torch
from scipy.stats import kstest

from latentlab.samplers import StandardNormal, Uniform


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("prior", "name"), [(StandardNormal(), "norm"), (Uniform(), "uniform")])
def test_samples_follow_the_distribution_and_are_reproducible(prior, name):
    z = prior.sample((4000, 2), seeded()).double()
    args = (-1, 2) if name == "uniform" else ()
    assert kstest(z.flatten().numpy(), name, args).pvalue > 0.01
    assert torch.equal(z, prior.sample((4000, 2), seeded()).double())


@pytest.mark.parametrize("prior", [StandardNormal(), Uniform()])
def test_a_fixed_prior_ignores_the_codes(prior):
    before = prior.sample((5, 2), seeded())
    prior.fit(100 + torch.randn(50, 2))
    assert not prior.learns
    assert torch.equal(prior.sample((5, 2), seeded()), before)


@pytest.mark.parametrize("prior", [StandardNormal(), Uniform()])
def test_without_a_generator_the_global_one_is_used(prior):
    torch.manual_seed(3)
    first = prior.sample((5, 2))
    torch.manual_seed(3)
    assert torch.equal(prior.sample((5, 2)), first)
