"""Reconstruction errors against torch.distributions, scipy and numpy."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal
from torch.distributions import Bernoulli

from latentlab.losses import reconstruction

X = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_squared_error_sums_pixels_and_keeps_the_batch():
    expected = [float(((X[i] - Y[i]).numpy() ** 2).sum()) for i in range(3)]
    assert reconstruction.squared_error(Y, X).tolist() == pytest.approx(expected)


def test_bernoulli_nll_is_minus_log_probability_of_binary_images():
    logits, x = 4 * Y - 2, (X > 0.5).double()
    expected = -Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(reconstruction.bernoulli_nll(logits, x), expected)


@pytest.mark.parametrize(("dtype", "eps"), [(torch.float32, 2**-23), (torch.float64, 2**-52)])
def test_bernoulli_nll_of_large_logits_errs_by_eps_a_pixel(dtype, eps):
    size = torch.cat([torch.linspace(0, 60, 601), torch.tensor([90.0, 200.0])]).to(dtype)
    for sign, x in [(1, 0), (1, 1), (-1, 0), (-1, 1), (1, 0.25), (-1, 0.25)]:
        logits = sign * size[:, None]
        got = reconstruction.bernoulli_nll(logits, torch.full_like(logits, x)).tolist()
        for value, logit in zip(got, logits.flatten().tolist(), strict=True):
            exact = max(logit, 0) - x * logit + math.log1p(math.exp(-abs(logit)))
            assert abs(value - exact) <= eps * (1 + 2 * abs(logit)), (logit, x)


def test_gradients_of_bernoulli_nll():
    logits, x = (20 * Y - 10).requires_grad_(), X.clone().requires_grad_()
    assert torch.autograd.gradcheck(reconstruction.bernoulli_nll, (logits, x))


def test_a_second_derivative_of_bernoulli_nll_is_an_error():
    logits = torch.randn(2, 3, requires_grad=True)
    nll = reconstruction.bernoulli_nll(logits, torch.rand(2, 3)).square().sum()
    (gradient,) = torch.autograd.grad(nll, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_bernoulli_nll_of_half_precision_is_computed_in_single_precision():
    logits = (8 * Y - 4).bfloat16().requires_grad_()
    nll = reconstruction.bernoulli_nll(logits, X.float())
    exact = reconstruction.bernoulli_nll(logits.double(), X.float().double())
    torch.testing.assert_close(nll, exact.float(), rtol=1e-6, atol=0)
    nll.sum().backward()
    slope = logits.detach().double().sigmoid() - X.float()
    torch.testing.assert_close(logits.grad, slope.bfloat16())


def test_gaussian_nll_is_minus_log_density():
    log_scale = -0.7
    got = reconstruction.gaussian_nll(Y, log_scale, X)
    for i in range(3):
        cov = math.exp(2 * log_scale)
        density = multivariate_normal(Y[i].flatten().numpy(), cov).logpdf(X[i].flatten().numpy())
        assert float(got[i]) == pytest.approx(-density)


@pytest.mark.parametrize(("mean", "scale"), [(0.3, 0.1), (0.9, 1.5)])
def test_gaussian_density_integrates_to_one(mean, scale):
    def density(x):
        value = torch.tensor([[x]], dtype=torch.float64)
        nll = reconstruction.gaussian_nll(torch.full_like(value, mean), math.log(scale), value)
        return math.exp(-float(nll))

    total, _ = quad(density, mean - 12 * scale, mean + 12 * scale, points=[mean])
    assert total == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("name", ["mse", "bce"])
def test_reconstruction_loss_is_a_mean_over_the_batch_with_the_squared_error_beside_it(name):
    logits = 4 * Y - 2
    x_hat = logits.sigmoid()
    sse = (x_hat - X).square().sum() / 3
    cross_entropy = -(X * x_hat.log() + (1 - X) * (1 - x_hat).log()).sum() / 3
    got = reconstruction.reconstruction_loss(logits, X, name)
    torch.testing.assert_close(got["loss"], {"mse": sse, "bce": cross_entropy}[name])
    torch.testing.assert_close(got["sse"], sse)
