"""Importance sampling on a linear-Gaussian model, whose log p(x) is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from latentlab.diagnostics.metrics import importance_sampling
from latentlab.diagnostics.metrics.importance_sampling import (
    binarized,
    effective_sample_size,
    log_likelihood,
    mean_bound,
)
from latentlab.models.vae import VAE

SCALE = 0.5


class LinearGaussian:
    """x = W z + b + SCALE · eps of 4 pixels and 2 latent units; q(z|x) is wider than p(z|x)."""

    likelihood = SimpleNamespace(outputs=1)

    def __init__(self):
        g = torch.Generator().manual_seed(1)
        basis = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64, generator=g)).Q
        self.weight = basis * torch.tensor([1.0, 0.6])
        self.bias = torch.randn(4, dtype=torch.float64, generator=g)
        covariance = self.weight @ self.weight.T + SCALE**2 * torch.eye(4)
        self.px = MultivariateNormal(self.bias, covariance)

    def log_weights(self, x, y, num_samples):
        precision = torch.eye(2) + self.weight.T @ self.weight / SCALE**2
        mu = (x.flatten(1) - self.bias) @ self.weight @ precision.inverse() / SCALE**2
        q = Normal(mu, 1.3 * precision.inverse().diagonal().sqrt())
        z = q.sample((num_samples,))  # (S, B, 2)
        decoded = Normal(z @ self.weight.T + self.bias, SCALE)
        prior = Normal(0.0, 1.0).log_prob(z).sum(2)
        return prior + decoded.log_prob(x.flatten(1)).sum(2) - q.log_prob(z).sum(2)


def test_estimate_converges_to_the_exact_log_likelihood(monkeypatch):
    torch.manual_seed(1)
    model = LinearGaussian()
    x = model.px.sample((6,)).view(6, 1, 2, 2)
    exact = model.px.log_prob(x.flatten(1))
    found = log_likelihood(model, x, torch.zeros(6), num_samples=[40_000], seed=0)
    torch.testing.assert_close(found.log_px, exact, atol=0.05, rtol=0)
    assert (found.elbo < found.log_px).all()
    sizes, log_weights = [], model.log_weights
    monkeypatch.setattr(importance_sampling, "MAX_VALUES", 400)
    model.log_weights = lambda x, y, s: sizes.append(len(x) * s * 4) or log_weights(x, y, s)
    again = log_likelihood(model, x, torch.zeros(6), num_samples=[3000], seed=1)
    torch.testing.assert_close(again.log_px, exact, atol=0.3, rtol=0)
    assert max(sizes) <= 400


def test_bounds_rise_to_the_exact_value_and_begin_with_the_elbo():
    torch.manual_seed(1)
    model = LinearGaussian()
    x = model.px.sample((40,)).view(40, 1, 2, 2)
    found = log_likelihood(model, x, torch.zeros(40), num_samples=[1, 3, 30, 3000], seed=0)
    mean = found.bounds.mean(1)
    assert (mean.diff() > 0).all()
    torch.testing.assert_close(found.bounds[0], found.elbo)
    torch.testing.assert_close(found.log_px, model.px.log_prob(x.flatten(1)), atol=0.2, rtol=0)


def test_a_bound_is_the_mean_over_whole_blocks():
    log_w = torch.tensor([[1.0], [2.0], [4.0], [3.0], [9.0]], dtype=torch.float64)
    expected = (math.log((math.e + math.e**2) / 2) + math.log((math.e**4 + math.e**3) / 2)) / 2
    assert float(mean_bound(log_w, 2)) == pytest.approx(expected)


def test_effective_sample_size_counts_the_codes_that_matter():
    equal, one = torch.zeros(50, 1), torch.tensor([[0.0], [-800.0], [-900.0]])
    pair = torch.tensor([[math.log(3.0)], [0.0]])  # (3 + 1)² / (9 + 1)
    sizes = [float(effective_sample_size(log_w)) for log_w in (equal, one, pair, pair - 1e4)]
    assert sizes == pytest.approx([50, 1, 1.6, 1.6], rel=1e-2)


def test_effective_sample_size_belongs_to_its_image():
    """The second image has equal weights, also where images are processed in several parts."""

    class Weights:
        likelihood = SimpleNamespace(outputs=1)

        def log_weights(self, x, y, num_samples):
            decay = -30.0 * torch.arange(num_samples)[:, None]
            return torch.where(x.flatten(1)[:, 0] > 0, torch.zeros(()), decay)

    x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    found = log_likelihood(Weights(), x, torch.zeros(2), num_samples=[8], seed=0)
    assert found.effective_sample_size.tolist() == pytest.approx([1, 8])


def test_memory_limit_counts_the_outputs_of_the_decoder():
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=2, likelihood="categorical").eval()
    sizes = []
    model.decoder.register_forward_hook(lambda _, inputs, made: sizes.append(made.numel()))
    log_likelihood(model, torch.rand(6, 1, 8, 8), torch.zeros(6), num_samples=[2000], seed=0)
    assert sum(sizes) == 6 * 2000 * 64 * 8
    assert max(sizes) <= 2**21


def test_binarized_pixels_are_0_or_1_with_the_intensity_as_probability():
    x = torch.full((50, 1, 20, 20), 0.3)
    once = binarized(x, 0)
    assert set(once.unique().tolist()) == {0.0, 1.0}
    assert abs(float(once.mean()) - 0.3) < 0.02
    assert torch.equal(once, binarized(x, 0))
    assert not torch.equal(once, binarized(x, 1))
