"""IWAE: the bound is the ELBO for one code, and tighter for more."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentlab.diagnostics.metrics.importance_sampling import binarized
from latentlab.models.iwae import IWAE
from latentlab.networks.mlp import MLP
from models.gradients import assert_same_loss_and_gradients


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


def test_the_gradient_is_that_of_the_bound_of_burda():
    """Eq. 8 with the densities of torch.distributions; the codes depend on the encoder."""
    torch.manual_seed(0)
    model = IWAE((1, 2, 2), num_samples=3, latent_dim=2, network=MLP([6])).double()
    x = (torch.rand(5, 1, 2, 2) > 0.5).double()
    torch.manual_seed(1)
    got = model.training_step((x, torch.zeros(5)), 0)
    torch.manual_seed(1)
    torch.rand_like(x)  # for the binarization
    mu, logvar = model.encoder(x).split(2, 1)
    q = Normal(mu, logvar.exp().sqrt())
    z = mu + q.stddev * torch.randn(3, 5, 2, dtype=torch.float64)
    outputs = model.decoder(z.reshape(15, 2)).view(3, 5, 4)
    log_p = Bernoulli(logits=outputs).log_prob(x.flatten(1)).sum(2)
    log_w = log_p + Normal(0.0, 1.0).log_prob(z).sum(2) - q.log_prob(z).sum(2)
    bound = log_w.exp().mean(0).log().mean()
    assert_same_loss_and_gradients(model, got["loss"], -bound)
    assert float(got["iwae_nats"].detach()) == pytest.approx(float(bound.detach()))


def test_the_code_of_an_image_is_the_posterior_mean():
    model, x = IWAE((1, 8, 8), latent_dim=3), torch.rand(4, 1, 8, 8)
    mu = model.encoder(x)[:, :3]
    assert torch.equal(model.encode(x), mu)
    assert torch.equal(model.features(x), mu)
    torch.testing.assert_close(model.decode(mu), model.decoder(mu).sigmoid())


def test_the_bound_needs_a_code():
    with pytest.raises(ValueError, match="num_samples is 0"):
        IWAE((1, 8, 8), num_samples=0)
