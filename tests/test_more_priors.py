"""Samplers of the VAE family: symbols, a second VAE; each survives a file."""

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare

from latentlab.priors import (
    AutoregressiveSymbols,
    FittedGaussian,
    IndependentSymbols,
    TwoStage,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(count=2000):
    """Codes along a parabola, with a little noise."""
    x = torch.randn(count, generator=seeded(1))
    return torch.stack([x, x * x], 1) + 0.05 * torch.randn(count, 2, generator=seeded(2))


def test_second_vae_follows_a_bent_line_where_one_gaussian_does_not():
    prior, gaussian = TwoStage(hidden=64, steps=600, batch_size=128, lr=1e-2), FittedGaussian()
    prior.fit(bent())
    gaussian.fit(bent())
    drawn = [sampler.sample((2000, 2), seeded()) for sampler in (prior, gaussian)]
    off = [float((z[:, 1] - z[:, 0].square()).abs().mean()) for z in drawn]
    assert off[0] < 0.7 < 1.4 < off[1]


def test_second_vae_bound_stays_above_the_entropy_of_what_it_learned():
    """Gibbs: E[−log p] of any density is at least the entropy of the data's own."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.3]])
    codes = torch.randn(4000, 2, generator=seeded()) @ factor.T
    prior = TwoStage(hidden=32, steps=400, batch_size=128, lr=1e-2)
    prior.fit(codes)
    scaled = (codes - prior.mean) / prior.spread
    entropy = 0.5 * math.log(float(torch.det(2 * math.pi * math.e * torch.cov(scaled.T))))
    bound = float(torch.stack([prior.negative_elbo(scaled).mean() for _ in range(20)]).mean())
    assert entropy - 0.03 < bound < entropy + 0.8  # independent codes would be 1.05 above


def tiny_symbols(places=4, kinds=3, count=3000):
    """Each symbol is the one before with odds 0.8, else any: a Markov chain."""
    g = seeded(4)
    columns = [torch.randint(kinds, (count,), generator=g)]
    for _ in range(places - 1):
        stay = torch.rand(count, generator=g) < 0.8
        columns.append(torch.where(stay, columns[-1], torch.randint(kinds, (count,), generator=g)))
    return torch.stack(columns, 1).float()


def sequences(places=4, kinds=3):
    return torch.tensor(list(itertools.product(range(kinds), repeat=places))).float()


@pytest.fixture(scope="module")
def chain():
    prior = AutoregressiveSymbols(hidden=16, steps=250, batch_size=128, lr=2e-2)
    prior.fit(tiny_symbols())
    return prior


def test_autoregressive_probabilities_sum_to_one_and_are_the_chains(chain):
    s = sequences()
    p = chain.log_prob(s).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    stays = (s[:, 1:] == s[:, :-1]).double()
    true = (stays * (0.8 + 0.2 / 3) + (1 - stays) * 0.2 / 3).prod(1) / 3
    assert float((p - true).abs().sum()) < 0.15
    assert float((1 / 81 - true).abs().sum()) > 0.8  # what independence would give


def test_autoregressive_draws_have_the_probabilities_it_names(chain):
    drawn = chain.sample((8000, 4), seeded())
    place = drawn.long() @ torch.tensor([27, 9, 3, 1])
    counts = torch.bincount(place, minlength=81).double()
    expected = chain.log_prob(sequences()).exp().double()
    assert chisquare(counts.numpy(), (8000 * expected / expected.sum()).numpy()).pvalue > 0.01


def test_independent_symbols_have_the_frequencies_of_each_place():
    codes = torch.tensor([[0.0, 2.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    prior = IndependentSymbols()
    prior.fit(codes)
    drawn = prior.sample((4000, 2), seeded())
    assert chisquare(torch.bincount(drawn[:, 0].long()).numpy(), [2000, 2000]).pvalue > 0.01
    assert chisquare(torch.bincount(drawn[:, 1].long())[1:].numpy(), [3000, 1000]).pvalue > 0.01


@pytest.mark.parametrize("kind", [IndependentSymbols, AutoregressiveSymbols])
def test_symbols_are_whole_numbers_of_the_fitted_length(kind):
    with pytest.raises(ValueError, match=r"take latentlab\.priors.FittedMixture"):
        kind().fit(torch.randn(20, 3))
    with pytest.raises(ValueError, match="asked for 3 symbols"):
        kind().sample((5, 3))


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (lambda: TwoStage(hidden=8, steps=5), bent(300)),
        (IndependentSymbols, tiny_symbols()),
        (lambda: AutoregressiveSymbols(hidden=8, steps=5), tiny_symbols()),
    ],
)
def test_fitting_is_deterministic_and_survives_a_file(make, codes):
    made = [make(), make(), make()]
    made[0].fit(codes)
    torch.rand(7)  # the global generator has moved on
    with torch.inference_mode():
        made[1].fit(codes)
    made[2].load_state_dict(made[0].state_dict())
    first, *rest = [prior.sample((50, codes.shape[1]), seeded()) for prior in made]
    assert first.dtype == torch.float32
    assert all(torch.equal(first, z) for z in rest)


@pytest.mark.parametrize("kind", [TwoStage, AutoregressiveSymbols])
def test_fitted_networks_refuse_impossible_settings(kind):
    with pytest.raises(ValueError, match="must be > 0"):
        kind(steps=0)


def test_second_vae_refuses_codes_of_another_length():
    prior = TwoStage(hidden=8, steps=2)
    prior.fit(bent(50))
    with pytest.raises(ValueError, match="asked for 3-d codes from a TwoStage of 2-d"):
        prior.sample((4, 3))
