"""IWAE: the bound is the ELBO for one code, and tighter for more."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentlab.diagnostics.metrics.importance_sampling import binarized
from latentlab.models.iwae import IWAE
from latentlab.networks.mlp import MLP


def test_iwae_of_one_code_has_the_elbo_as_loss_and_more_codes_a_smaller_one():
    torch.manual_seed(0)
    model = IWAE((1, 2, 2), num_samples=1, latent_dim=2, network=MLP([6])).double()
    x = binarized(torch.rand(400, 1, 2, 2, dtype=torch.float64), 0)
    mu, logvar = model.posterior(x)
    kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    with torch.no_grad():
        one = model.loss((x, x))
    assert float(one["loss"]) == -float(one["elbo_nats"]) == -float(one["iwae_nats"])
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    nll = -Bernoulli(model.decode(z)).log_prob(x).sum((1, 2, 3)).mean()
    assert float(one["elbo_nats"]) == pytest.approx(float((-nll - kl).detach()), abs=0.1)
    model.num_samples = 50
    with torch.no_grad():
        assert float(model.loss((x, x))["loss"]) < float(one["loss"])


def test_the_bound_needs_a_code():
    with pytest.raises(ValueError, match="num_samples is 0"):
        IWAE((1, 8, 8), num_samples=0)
