"""Importance sampling on a linear-Gaussian model, whose log p(x) is known."""

from types import SimpleNamespace

import torch
from torch.distributions import MultivariateNormal, Normal

from latentlab.diagnostics.metrics import importance_sampling
from latentlab.diagnostics.metrics.importance_sampling import binarized, log_likelihood
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
    found, elbo = log_likelihood(model, x, torch.zeros(6), num_samples=40_000, seed=0)
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    assert (elbo < found).all()
    sizes, log_weights = [], model.log_weights
    monkeypatch.setattr(importance_sampling, "MAX_VALUES", 400)
    model.log_weights = lambda x, y, s: sizes.append(len(x) * s * 4) or log_weights(x, y, s)
    again, _ = log_likelihood(model, x, torch.zeros(6), num_samples=3000, seed=1)
    torch.testing.assert_close(again, exact, atol=0.3, rtol=0)
    assert max(sizes) <= 400


def test_memory_limit_counts_the_outputs_of_the_decoder():
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=2, likelihood="categorical").eval()
    sizes = []
    model.decoder.register_forward_hook(lambda _, inputs, made: sizes.append(made.numel()))
    log_likelihood(model, torch.rand(6, 1, 8, 8), torch.zeros(6), num_samples=2000, seed=0)
    assert sum(sizes) == 6 * 2000 * 64 * 8
    assert max(sizes) <= 2**21


def test_binarized_pixels_are_0_or_1_with_the_intensity_as_probability():
    x = torch.full((50, 1, 20, 20), 0.3)
    once = binarized(x, 0)
    assert set(once.unique().tolist()) == {0.0, 1.0}
    assert abs(float(once.mean()) - 0.3) < 0.02
    assert torch.equal(once, binarized(x, 0))
    assert not torch.equal(once, binarized(x, 1))
