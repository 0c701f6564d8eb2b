"""Annealed importance sampling on probabilistic PCA, whose log p(x) is known."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from latentlab.diagnostics.metrics.annealed_importance_sampling import (
    AIS,
    GaussianLatentModel,
    _Chain,
    log_likelihood_of,
    make_ais,
    schedule,
    simulate,
)
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.models.iwae import IWAE
from latentlab.models.vae import VAE
from latentlab.networks.mlp import MLP

PIXELS, DIM, NOISE = 12, 3, 0.3


class PPCA:
    """x = W z + b + 0.3 · eps (Tipping & Bishop 1999). `scale`: of the entries of W.

    With a large scale the posterior is far from the prior.
    """

    def __init__(self, scale=0.4):
        g = torch.Generator().manual_seed(0)
        self.weight = scale * torch.randn(PIXELS, DIM, generator=g)
        self.bias = torch.randn(PIXELS, generator=g)
        covariance = self.weight @ self.weight.T + NOISE**2 * torch.eye(PIXELS)
        self.px = MultivariateNormal(self.bias, covariance)

    def log_px_given_z(self, x, z):
        residual = (x - z @ self.weight.T - self.bias) / NOISE
        constant = PIXELS * (math.log(NOISE) + 0.5 * math.log(2 * math.pi))
        return -0.5 * residual.square().sum(1) - constant

    def draw(self, count, seed=1):
        """Images and their codes: exact samples of the posterior."""
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(count, DIM, generator=g)
        eps = torch.randn(count, PIXELS, generator=g)
        return z @ self.weight.T + self.bias + NOISE * eps, z


def test_both_bounds_enclose_the_exact_value_and_meet():
    model = PPCA()
    x, z = model.draw(60)
    exact = model.px.log_prob(x).double()
    ais = make_ais(
        model.log_px_given_z,
        x,
        latent_dim=DIM,
        num_temperatures=150,
        num_chains=8,
        leapfrog_steps=5,
    )
    lower, upper = ais.lower_bound(x, seed=2), ais.upper_bound(x, z, seed=3)
    assert float((lower - exact).mean()) == pytest.approx(0, abs=0.12)
    assert float((upper - exact).mean()) == pytest.approx(0, abs=0.12)
    assert 0 < float((upper - lower).mean()) < 0.2
    prior = model.log_px_given_z(x.repeat_interleave(8, 0), torch.randn(480, DIM)).view(60, 8)
    simple = prior.double().logsumexp(1) - math.log(8)
    assert float((simple - exact).mean()) < -10, "eight codes of the prior are no estimate"


def test_the_mean_weight_is_unbiased_with_few_temperatures():
    """E[w] = p(x) and E[1/w] = 1/p(x) for any schedule, if each transition keeps its target."""
    model = PPCA(0.09)  # few temperatures suffice for a precise mean
    x, _ = model.draw(1)
    posterior = torch.linalg.inv(torch.eye(DIM) + model.weight.T @ model.weight / NOISE**2)
    mean = posterior @ model.weight.T @ (x[0] - model.bias) / NOISE**2
    chains = 40_000
    z = MultivariateNormal(mean, posterior).sample((chains,))
    settings = (model.log_px_given_z, DIM, schedule(6), [1.1] * 5)
    exact = float(model.px.log_prob(x))
    forward = AIS(*settings, num_chains=chains, leapfrog_steps=2)
    assert float(forward.lower_bound(x, seed=0)) == pytest.approx(exact, abs=0.03)
    backward = AIS(*settings, num_chains=1, leapfrog_steps=2)
    each = backward.upper_bound(x.expand(chains, -1), z, seed=1)
    assert float(-((-each).logsumexp(0) - math.log(chains))) == pytest.approx(exact, abs=0.03)


def test_one_temperature_is_importance_sampling_from_the_prior():
    model = PPCA()
    x, z = model.draw(4)
    ais = AIS(model.log_px_given_z, DIM, schedule(1), [], num_chains=50)
    prior = torch.randn(200, DIM, generator=torch.Generator().manual_seed(5))
    log_w = model.log_px_given_z(x.repeat_interleave(50, 0), prior).double().view(4, 50)
    expected = log_w.logsumexp(1) - math.log(50)
    torch.testing.assert_close(ais.lower_bound(x, seed=5), expected)
    torch.testing.assert_close(ais.upper_bound(x, z, seed=5), model.log_px_given_z(x, z).double())


def test_more_temperatures_bring_the_bounds_together():
    model = PPCA()
    x, z = model.draw(30)
    gaps = []
    for count in (5, 40):
        ais = make_ais(
            model.log_px_given_z, x, latent_dim=DIM, num_temperatures=count, num_chains=2
        )
        gaps.append(float((ais.upper_bound(x, z, seed=1) - ais.lower_bound(x, seed=1)).mean()))
    assert gaps[0] > 2 * gaps[1] > 0


def test_the_pilot_reaches_the_acceptance_it_aims_at():
    model, accepted = PPCA(1.0), []
    x, _ = model.draw(200)
    ais = make_ais(model.log_px_given_z, x, latent_dim=DIM, num_temperatures=120, leapfrog_steps=5)
    assert len(ais.step_sizes) == 119
    assert ais.step_sizes[-1] < 0.5 * max(ais.step_sizes), "the posterior is narrower"
    chain = _Chain(ais, x, torch.randn(len(x), DIM))
    for beta, size in zip(ais.temperatures[:-1], ais.step_sizes, strict=True):
        accepted.append(chain.transition(beta, size, torch.Generator().manual_seed(len(accepted))))
    assert sum(accepted[60:]) / 59 == pytest.approx(0.8, abs=0.07)


def test_accepted_and_rejected_proposals_leave_a_consistent_chain():
    model = PPCA(1.0)
    x, z = model.draw(200)
    ais = AIS(model.log_px_given_z, DIM, schedule(2), [0.1], leapfrog_steps=3)
    chain = _Chain(ais, x, z)
    accepted = chain.transition(1.0, 0.14, torch.Generator().manual_seed(5))
    moved = (chain.z != z).any(1)
    assert 0.1 < accepted < 0.9
    assert float(moved.double().mean()) == pytest.approx(accepted)
    fresh = _Chain(ais, x, chain.z)
    torch.testing.assert_close(chain.log_px, fresh.log_px)
    torch.testing.assert_close(chain.gradient, fresh.gradient)


def test_the_schedule_rises_to_1_and_is_denser_at_its_ends():
    betas = torch.tensor([0.0, *schedule(50)], dtype=torch.float64)
    steps = betas.diff()
    assert betas[-1] == 1
    assert (steps > 0).all()
    torch.testing.assert_close(steps, steps.flip(0))
    assert steps[0] < steps[25] / 5
    sigmoid = {t: 1 / (1 + math.exp(-4 * t)) for t in (-1.0, 0.2, 1.0)}  # 0.2 = 2 · 30 / 50 − 1
    expected = (sigmoid[0.2] - sigmoid[-1.0]) / (sigmoid[1.0] - sigmoid[-1.0])
    assert float(betas[30]) == pytest.approx(expected)


def test_log_likelihood_and_images_of_a_vae():
    torch.manual_seed(0)
    model = VAE((1, 2, 2), latent_dim=2, network=MLP(hidden=[]), likelihood="gaussian", scale=0.2)
    x, z = simulate(model, 3000, seed=1)
    residual = ((x - model.decode(z)) / 0.2).detach()
    assert float(residual.std()) == pytest.approx(1, abs=0.03)
    constant = 4 * (math.log(0.2) + 0.5 * math.log(2 * math.pi))
    expected = -0.5 * residual.flatten(1).square().sum(1) - constant
    torch.testing.assert_close(log_likelihood_of(model)(x, z).detach(), expected)
    assert float(z.std()) == pytest.approx(1, abs=0.03)
    assert torch.equal(simulate(model, 5, seed=1)[0], simulate(model, 5, seed=1)[0])


def test_models_with_a_decoder_a_likelihood_and_the_normal_prior():
    assert isinstance(VAE((1, 8, 8)), GaussianLatentModel)
    assert isinstance(IWAE((1, 8, 8)), GaussianLatentModel)
    assert not isinstance(ConditionalVAE((1, 8, 8), 3), GaussianLatentModel)


def test_a_schedule_without_temperatures_is_an_error():
    with pytest.raises(ValueError, match=r"0 temperatures, 16 chains.*each must be 1 or more"):
        make_ais(lambda x, z: z, torch.zeros(1, 1), latent_dim=1, num_temperatures=0)


def test_one_temperature_one_chain_and_one_leapfrog_step_are_enough():
    model = PPCA()
    x, _ = model.draw(3)
    ais = make_ais(
        model.log_px_given_z, x, latent_dim=DIM, num_temperatures=1, num_chains=1, leapfrog_steps=1
    )
    assert ais.temperatures == [1]
    assert ais.step_sizes == []


def test_the_pilot_multiplies_the_step_size_by_the_acceptance(monkeypatch):
    """By exp(0.2 (a − 0.8)) after each transition; the first step size is 0.3."""
    accepted, sizes = iter([1.0, 0.5, 0.0]), []
    monkeypatch.setattr(
        _Chain,
        "transition",
        lambda self, beta, size, generator: sizes.append((beta, size)) or next(accepted),
    )
    model = PPCA()
    x, _ = model.draw(3)
    ais = make_ais(model.log_px_given_z, x, latent_dim=DIM, num_temperatures=4)
    expected = [0.3, 0.3 * math.exp(0.2 * 0.2), 0.3 * math.exp(0.2 * (0.2 - 0.3))]
    assert ais.step_sizes == pytest.approx(expected)
    assert sizes == list(zip(schedule(4)[:-1], ais.step_sizes, strict=True))
