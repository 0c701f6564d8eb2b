"""Divergences and bounds against torch.distributions, numpy, scipy and scikit-learn."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, logsumexp
from sklearn.metrics import mutual_info_score
from torch.distributions import Independent, Normal, Uniform, kl_divergence

from latentlab.losses.variational import (
    categorical_information,
    elbo_terms,
    iwae_bound,
    kl_standard_normal,
    mmd,
    reparameterize,
    sample_weighted,
    uniform_information,
    unit_kl_standard_normal,
)


def test_kl_equals_torch_distributions():
    mu, logvar = (
        torch.rand(3, 40, dtype=torch.float64),
        3 * torch.rand(3, 40, dtype=torch.float64) - 1,
    )
    q = Normal(mu, (0.5 * logvar).exp())
    expected = kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1)
    torch.testing.assert_close(kl_standard_normal(mu, logvar), expected)
    units = unit_kl_standard_normal(mu, logvar)
    assert units.shape == mu.shape
    torch.testing.assert_close(units.sum(1), expected)


def test_weights_of_sampled_codes_are_prior_over_posterior():
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    z, log_ratio = sample_weighted(mu, logvar, 4)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    posterior = Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(log_ratio, prior - posterior, atol=1e-4, rtol=1e-4)


def sampled_codes(mu, logvar, count):
    """The same number of codes by each function that samples them, (count, D)."""
    yield reparameterize(mu.expand(count, -1), logvar.expand(count, -1))
    yield sample_weighted(mu[None], logvar[None], count)[0][:, 0]


def test_codes_have_the_mean_and_the_deviation_of_the_posterior():
    mu, sigma = torch.tensor([1.5, -0.5]), torch.tensor([0.2, 3.0])
    for z in sampled_codes(mu, 2 * sigma.log(), 100_000):
        torch.testing.assert_close(z.mean(0), mu, atol=0.04, rtol=0)
        torch.testing.assert_close(z.std(0), sigma, atol=0, rtol=0.01)


def test_the_gradient_passes_through_a_sampled_code():
    """z = μ + σ ε with σ² = exp(logvar): ∂z/∂μ = 1 and ∂z/∂logvar = σ ε / 2 = (z − μ) / 2."""
    mu, logvar = torch.randn(2, 1, 3, dtype=torch.float64).requires_grad_().unbind()
    for z in sampled_codes(mu[0], logvar[0], 1):
        of_mu, of_logvar = torch.autograd.grad(z.sum(), (mu, logvar), retain_graph=True)
        torch.testing.assert_close(of_mu, torch.ones_like(mu))
        torch.testing.assert_close(of_logvar, (z - mu).detach() / 2)


def test_beta_weighs_the_kl_of_the_loss_and_not_of_the_elbo():
    nll, kl = torch.tensor([10.0, 14.0, 3.0]), torch.tensor([1.0, 2.0, 6.0])
    terms = {name: value.item() for name, value in elbo_terms(nll, kl, beta=4.0).items()}
    expected = {"loss": 9 + 4 * 3, "elbo_nats": -12, "nll_nats": 9, "kl_nats": 3}
    assert terms == pytest.approx(expected)
    assert elbo_terms(nll, kl)["loss"].item() == pytest.approx(12)


def test_the_bound_of_several_codes_is_the_logarithm_of_the_mean_weight():
    log_w = 3 * torch.randn(7, 5, dtype=torch.float64) - 200  # exp of it is below float32's range
    expected = logsumexp(log_w.numpy(), axis=0, b=1 / 7)
    assert iwae_bound(log_w).numpy() == pytest.approx(expected)
    assert torch.equal(iwae_bound(log_w[:1]), log_w[0])


def numpy_mmd(x, y, variance):
    """The definition of the U-statistic, pair by pair."""
    c = 2 * x.shape[1] * variance

    def kernel(a, b):
        return c / (c + float(np.sum((a - b) ** 2)))

    within = [
        sum(kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    between = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return within[0] + within[1] - 2 * between


@pytest.mark.parametrize("variance", [0.1, 1.0, 5.0])
def test_mmd_is_its_definition(variance):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), 0.5 + 2 * rng.normal(size=(5, 3))
    got = float(mmd(torch.from_numpy(x), torch.from_numpy(y), variance=variance))
    assert got == pytest.approx(numpy_mmd(x, y, variance), abs=1e-12)
    assert float(mmd(torch.from_numpy(y), torch.from_numpy(x), variance=variance)) == pytest.approx(
        got
    )


def test_mmd_is_unbiased():
    """The mean over all samples of two discrete distributions is their exact MMD²."""
    rng = np.random.default_rng(1)
    p, q = torch.from_numpy(rng.normal(size=(4, 2))), torch.from_numpy(rng.normal(size=(3, 2)))

    def mean_kernel(a, b):  # C = 4, all pairs, equal points included
        return np.mean([[4 / (4 + float((u - v).square().sum())) for v in b] for u in a])

    exact = mean_kernel(p, p) + mean_kernel(q, q) - 2 * mean_kernel(p, q)
    samples = itertools.product(
        itertools.product(range(4), repeat=2), itertools.product(range(3), repeat=2)
    )
    values = [float(mmd(p[list(i)], q[list(j)])) for i, j in samples]
    assert np.mean(values) == pytest.approx(exact, abs=1e-12)
    assert min(values) < 0, "an unbiased estimate of a small value can be negative"


def test_mmd_has_the_gradient_of_finite_differences():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=g, dtype=torch.float64) for n in (6, 4))
    assert torch.autograd.gradcheck(mmd, (x.requires_grad_(), y.requires_grad_()))
    x = torch.zeros(3, 2, requires_grad=True)  # all distances are 0
    (gradient,) = torch.autograd.grad(mmd(x, torch.ones(3, 2)), x)
    assert gradient.isfinite().all()


def test_mmd_of_one_code_has_no_term_of_pairs():
    x, y = torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # C = 4
    assert float(mmd(x, y)) == pytest.approx(4 / 6 - 2 * 4 / 5)


def test_mmd_is_not_rounded_under_autocast():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, 4, generator=g) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        got = mmd(x, y)
    torch.testing.assert_close(got, mmd(x, y))


def test_the_categorical_bound_is_at_most_the_entropy_of_the_categories():
    y = torch.arange(7).repeat(3)
    confident = 40.0 * torch.eye(7)[y]
    assert float(categorical_information(confident, y)) == pytest.approx(math.log(7), rel=1e-6)
    assert float(categorical_information(torch.zeros(21, 7), y)) == pytest.approx(0, abs=1e-6)
    for seed in range(20):
        logits = 5 * torch.randn(21, 7, generator=torch.Generator().manual_seed(seed))
        assert float(categorical_information(logits, y)) < math.log(7)


def test_the_categorical_bound_is_tight_for_the_true_posterior_only():
    """y uniform on 3 values, x on 4, with counts for p(x|y): I(y; x) by scikit-learn."""
    table = torch.tensor([[6, 2, 1, 1], [1, 7, 1, 1], [2, 2, 2, 4]])  # 10 samples of x for each y
    y = torch.arange(3).repeat_interleave(10)
    x = torch.cat([torch.arange(4).repeat_interleave(row) for row in table])
    exact = mutual_info_score(y.numpy(), x.numpy())
    posterior = (table / table.sum(0)).log().T  # (x, y)
    assert float(categorical_information(posterior[x], y)) == pytest.approx(exact, rel=1e-5)
    other = posterior + torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert float(categorical_information(other[x], y)) < exact


def test_the_continuous_bound_is_the_entropy_and_log_likelihood_of_torch_distributions():
    g = torch.Generator().manual_seed(1)
    mu, logvar, c = (torch.randn(50, 3, generator=g) for _ in range(3))
    c = c.clamp(-1, 1)
    prior = Independent(Uniform(-torch.ones(3), torch.ones(3)), 1)
    q = Independent(Normal(mu, (logvar / 2).exp()), 1)
    expected = prior.entropy() + q.log_prob(c).mean()
    assert float(uniform_information(mu, logvar, c)) == pytest.approx(float(expected), rel=1e-5)


def test_the_continuous_bound_stays_below_the_information_of_a_noisy_copy():
    """x = c + σ n: I(c; x) = h(x) − h(σ n), the first by numerical integration."""
    sigma = 0.1

    def density(x):
        return (erf((x + 1) / (sigma * 2**0.5)) - erf((x - 1) / (sigma * 2**0.5))) / 4

    def entropy_density(x):
        return -density(x) * math.log(density(x)) if density(x) > 0 else 0.0

    exact = quad(entropy_density, -4, 4, limit=200)[0] - 0.5 * math.log(
        2 * math.pi * math.e * sigma**2
    )
    g = torch.Generator().manual_seed(2)
    c = torch.rand(100_000, 1, generator=g) * 2 - 1
    x = c + sigma * torch.randn(c.shape, generator=g)
    logvar = torch.full_like(c, 2 * math.log(sigma))
    matched, too_wide = uniform_information(x, logvar, c), uniform_information(x, logvar + 2, c)
    assert exact - 0.1 < float(matched) < exact
    assert float(too_wide) < float(matched)
