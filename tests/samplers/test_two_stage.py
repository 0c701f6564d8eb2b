"""The second VAE: it learns a distribution that one Gaussian cannot, and its bound is a bound."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from latentlab.samplers import FittedGaussian, TwoStageVAE


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def parabola(count=2000):
    """Codes along a parabola, with a little noise."""
    x = torch.randn(count, generator=seeded(1))
    return torch.stack([x, x * x], 1) + 0.05 * torch.randn(count, 2, generator=seeded(2))


def test_second_vae_follows_a_parabola_and_one_gaussian_does_not():
    prior, gaussian = TwoStageVAE(hidden=64, steps=600, batch_size=128, lr=1e-2), FittedGaussian()
    assert prior.learns
    prior.fit(parabola())
    gaussian.fit(parabola())
    samples = [sampler.sample((2000, 2), seeded()) for sampler in (prior, gaussian)]
    error = [float((z[:, 1] - z[:, 0].square()).abs().mean()) for z in samples]
    assert error[0] < 0.7 < 1.4 < error[1]


def test_second_vae_bound_is_above_the_entropy_of_the_codes():
    """Gibbs' inequality: E[−log p] of any density p is at least the entropy of the data."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.3]])
    codes = torch.randn(4000, 2, generator=seeded()) @ factor.T
    prior = TwoStageVAE(hidden=32, steps=400, batch_size=128, lr=1e-2)
    prior.fit(codes)
    scaled = (codes - prior.mean) / prior.scale
    entropy = 0.5 * math.log(float(torch.det(2 * math.pi * math.e * torch.cov(scaled.T))))
    bound = float(torch.stack([prior.negative_elbo(scaled).mean() for _ in range(20)]).mean())
    assert entropy - 0.03 < bound < entropy + 0.8  # independent codes would be 1.05 above


def test_fitting_is_deterministic_and_is_loaded_from_a_state():
    codes = parabola(300)
    priors = [TwoStageVAE(hidden=8, steps=5) for _ in range(3)]
    priors[0].fit(codes)
    torch.rand(7)  # changes the state of the global generator
    with torch.inference_mode():
        priors[1].fit(codes)
    priors[2].load_state_dict(priors[0].state_dict())
    first, *rest = [prior.sample((50, 2), seeded()) for prior in priors]
    assert first.dtype == torch.float32
    assert all(torch.equal(first, z) for z in rest)


def test_samples_have_the_mean_and_the_scale_of_the_codes():
    """With a decoder of zeros, z ~ N(mean, (scale · γ)² I)."""
    prior = TwoStageVAE(hidden=4, steps=1)
    prior.fit(parabola(50))
    torch.nn.init.zeros_(prior.decoder[-1].weight)
    torch.nn.init.zeros_(prior.decoder[-1].bias)
    prior.mean, prior.scale = torch.tensor([5.0, -3.0]), torch.tensor(20.0)
    prior.log_scale.data.fill_(math.log(0.1))
    z = prior.sample((20_000, 2), seeded())
    torch.testing.assert_close(z.mean(0), prior.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([2.0, 2.0]), atol=0, rtol=0.02)


def test_settings_must_be_positive():
    with pytest.raises(ValueError, match="must be > 0"):
        TwoStageVAE(steps=0)


def test_codes_of_another_length_are_an_error():
    prior = TwoStageVAE(hidden=8, steps=2)
    prior.fit(parabola(50))
    with pytest.raises(ValueError, match=r"asked for codes of 3 values from a TwoStageVAE .* of 2"):
        prior.sample((4, 3))


def test_projected_codes_are_unchanged_inside_and_moved_outside():
    codes = 5 + 2 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    sampler = TwoStageVAE(steps=300)
    sampler.fit(codes)
    moved = sampler.project(codes)
    unchanged = torch.isclose(moved, codes, atol=1e-4).all(1).float().mean()
    assert 0.9 < float(unchanged) <= 1
    far = torch.tensor([[5.0, 500.0]])
    assert float((sampler.project(far) - codes.mean(0)).norm()) < 50


def test_the_loss_is_the_bound_written_in_distributions():
    prior = TwoStageVAE(hidden=5)
    prior._build(3)
    prior.log_scale.data.fill_(-0.4)
    z = torch.randn(6, 3)
    torch.manual_seed(1)
    got = prior.negative_elbo(z)
    torch.manual_seed(1)
    mu, logvar = prior.encoder(z)[:, :3], prior.encoder(z)[:, 3:]
    q = Normal(mu, (0.5 * logvar).exp())
    u = mu + q.stddev * torch.randn_like(mu)
    nll = -Normal(prior.decoder(u), math.exp(-0.4)).log_prob(z).sum(1)
    torch.testing.assert_close(got, nll + kl_divergence(q, Normal(0.0, 1.0)).sum(1))


def test_codes_are_shifted_to_mean_0_and_divided_by_one_scale():
    prior, codes = TwoStageVAE(hidden=4, steps=1), parabola(50)
    prior.fit(codes)
    torch.testing.assert_close(prior.mean, codes.mean(0))
    variance = (codes - codes.mean(0)).square().sum() / 49 / 2
    torch.testing.assert_close(prior.scale, variance.sqrt())
    prior.fit(torch.ones(50, 2))
    assert float(prior.scale) == pytest.approx(1e-6)


def test_fitted_weights_have_no_gradient_and_follow_the_seed():
    codes = parabola(50).double().requires_grad_()
    priors = [TwoStageVAE(hidden=4, steps=2, seed=seed) for seed in (1, 2)]
    for prior in priors:
        prior.fit(codes)
    assert not priors[0].sample((3, 2)).requires_grad
    assert not any(p.requires_grad for p in priors[0].parameters())
    assert priors[0].mean.dtype == torch.float32
    assert not torch.equal(priors[0].decoder[0].weight, priors[1].decoder[0].weight)
    layers = [type(layer).__name__ for layer in priors[0].encoder]
    assert layers == ["Linear", "SiLU", "Linear", "SiLU", "Linear"]


def test_without_a_generator_the_global_one_is_used():
    prior = TwoStageVAE(hidden=4, steps=1)
    prior.fit(parabola(50))
    samples = []
    for _ in range(2):
        torch.manual_seed(3)
        samples.append(prior.sample((5, 2)))
    assert torch.equal(*samples)
