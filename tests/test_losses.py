"""Objectives against torch.distributions, scipy and finite differences."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentlab.losses import adversarial, divergences, likelihoods

X = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_squared_error_sums_pixels_and_keeps_the_batch():
    expected = [float(((X[i] - Y[i]).numpy() ** 2).sum()) for i in range(3)]
    assert likelihoods.squared_error(Y, X).tolist() == pytest.approx(expected)


def test_bernoulli_nll_is_minus_log_probability_of_binary_images():
    logits, x = 4 * Y - 2, (X > 0.5).double()
    expected = -Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(likelihoods.bernoulli_nll(logits, x), expected)


def test_gaussian_nll_is_minus_log_density():
    log_scale = -0.7
    got = likelihoods.gaussian_nll(Y, log_scale, X)
    for i in range(3):
        cov = math.exp(2 * log_scale)
        density = multivariate_normal(Y[i].flatten().numpy(), cov).logpdf(X[i].flatten().numpy())
        assert float(got[i]) == pytest.approx(-density)


def test_kl_equals_torch_distributions():
    mu, logvar = X.flatten(1), 3 * Y.flatten(1) - 1
    q = Normal(mu, (0.5 * logvar).exp())
    expected = kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1)
    torch.testing.assert_close(divergences.kl_standard_normal(mu, logvar), expected)


def test_discriminator_loss_is_two_log_two_where_both_look_alike():
    logits = torch.zeros(7)
    assert float(adversarial.discriminator_loss(logits, logits)) == pytest.approx(2 * math.log(2))


def test_generator_losses_are_goodfellows_three():
    logits = torch.linspace(-4, 4, 9, dtype=torch.float64)
    d = logits.sigmoid()
    assert float(adversarial.minimax(logits)) == pytest.approx(float((1 - d).log().mean()))
    assert float(adversarial.non_saturating(logits)) == pytest.approx(float(-d.log().mean()))
    likelihood = adversarial.maximum_likelihood(logits)
    assert float(likelihood) == pytest.approx(float(-(d / (1 - d)).mean()))


def test_only_minimax_loses_its_gradient_where_d_is_sure_of_the_fakes():
    def slope(loss):
        logit = torch.tensor([-8.0], requires_grad=True)
        loss(logit).backward()
        return abs(float(logit.grad))

    sure = torch.sigmoid(torch.tensor(-8.0)).item()  # D(fake)
    assert slope(adversarial.minimax) == pytest.approx(sure, rel=1e-4)
    assert slope(adversarial.non_saturating) == pytest.approx(1 - sure, rel=1e-4)


def test_maximum_likelihood_loss_has_the_gradient_of_the_forward_kl():
    """With p_g = N(θ, 1), p_data = N(0, 1) and the optimal D, the expected gradient in θ equals
    d/dθ KL(p_data ‖ p_g) = θ. The reference integrates; the loss's slope comes from autograd."""
    theta = 0.6

    def integrand(x):
        logit = torch.tensor([(x - theta) ** 2 / 2 - x**2 / 2], dtype=torch.float64)
        density = math.exp(-((x - theta) ** 2) / 2) / math.sqrt(2 * math.pi)
        value = float(adversarial.maximum_likelihood(logit))
        return density * value * (x - theta)  # score-function form: f · ∂ log p_g / ∂θ

    gradient, _ = quad(integrand, -8, 8)
    assert gradient == pytest.approx(theta, abs=1e-4)
