"""The first codes do not depend on how many are sampled."""

import pytest
import torch

from latentlab.inference.blocks import sample_blocks
from latentlab.samplers import (
    AutoregressivePrior,
    ClassConditional,
    FittedMixture,
    InfoGANPrior,
    StandardNormal,
    Uniform,
)


def fitted_mixture():
    sampler = FittedMixture(2)
    sampler.fit(torch.randn(50, 9))
    return sampler


def autoregressive():
    sampler = AutoregressivePrior(hidden=4, steps=2)
    sampler.fit(torch.randint(3, (50, 9)).float())
    return sampler


def with_classes(sampler):
    sampler.num_classes, sampler.num_continuous = 4, 2
    return sampler


SAMPLERS = {
    "gaussian": StandardNormal(),
    "uniform": Uniform(),
    "class": with_classes(ClassConditional()),
    "infogan": with_classes(InfoGANPrior()),
    "mixture": fitted_mixture(),
    "autoregressive": autoregressive(),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_fewer_codes_are_the_first_of_more(name):
    def sample(count):
        return sample_blocks(SAMPLERS[name], count, 9, torch.Generator().manual_seed(3))

    many = sample(3000)
    assert many.shape == (3000, 9)
    assert len(many.unique(dim=0)) > 1000
    for count in (1, 15, 16, 17, 48, 49, 500, 2031, 2032, 2033):
        assert torch.equal(sample(count), many[:count])


def test_blocks_follow_the_distribution():
    z = sample_blocks(SAMPLERS["class"], 5000, 9, torch.Generator().manual_seed(0))
    assert float(z[:, :5].mean().abs()) < 0.03
    assert float(z[:, :5].std()) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(z[:, 5:].mean(0), torch.full((4,), 0.25), atol=0.03, rtol=0)
