"""Conditional VAE: log p(x|y) against integration, classes from bounds, its sampler."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentlab.contracts import ClassConditionalModel
from latentlab.diagnostics.metrics.importance_sampling import binarized, log_likelihood
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.samplers import ClassConditional, StandardNormal
from models.gradients import assert_same_loss_and_gradients


def test_conditional_vae_weights_give_the_likelihood_of_the_image_given_its_class():
    torch.manual_seed(0)
    model = ConditionalVAE((1, 2, 2), 3, noise_dim=1, hidden=[6]).double()
    x, y = binarized(torch.rand(6, 1, 2, 2, dtype=torch.float64), 0), torch.arange(6) % 3
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None]
    found = log_likelihood(model, x, y, num_samples=[4000], seed=0)
    for i in range(6):
        codes = torch.cat([grid, F.one_hot(y[i], 3).expand(2001, 3)], 1)
        log_joint = Bernoulli(model.decode(codes)).log_prob(x[i]).sum((1, 2, 3))
        log_joint = log_joint + Normal(0.0, 1.0).log_prob(grid[:, 0])
        log_px = float(torch.logsumexp(log_joint.detach(), 0) + math.log(16 / 2000))
        assert float(found.log_px[i]) == pytest.approx(log_px, abs=0.02)
        assert float(found.elbo[i]) < log_px


def test_the_loss_is_the_elbo_of_the_image_given_its_class_and_both_networks_get_the_class():
    torch.manual_seed(0)
    model = ConditionalVAE((1, 2, 2), 3, noise_dim=2, hidden=[6]).double()
    x, y = torch.rand(6, 1, 2, 2, dtype=torch.float64), torch.tensor([2, 0, 1, 1, 2, 0])
    torch.manual_seed(1)
    got = model.training_step((x, y), 0)
    torch.manual_seed(1)
    one_hot = torch.eye(3).double()[y]
    mu, logvar = model.encoder(torch.cat([x.flatten(1), one_hot], 1)).split(2, 1)
    q = Normal(mu, logvar.exp().sqrt())
    z = mu + q.stddev * torch.randn_like(mu)
    p = model.decoder(torch.cat([z, one_hot], 1)).sigmoid()
    nll = -(x.flatten(1) * p.log() + (1 - x.flatten(1)) * (1 - p).log()).sum(1)
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    assert_same_loss_and_gradients(model, got["loss"], (nll + kl).mean())


def test_conditional_vae_gives_an_image_the_class_of_the_best_bound():
    torch.manual_seed(0)
    model = ConditionalVAE((1, 8, 8), 4, noise_dim=3, hidden=[16])
    x = torch.rand(5, 1, 8, 8)
    z = model.encode(x)
    assert z.shape == (5, 7)
    bounds = torch.empty(5, 4)
    for label in range(4):
        y = torch.full((5,), label)
        mu, logvar = model.posterior_given(x, y)
        logits = model.decode_logits(torch.cat([mu, F.one_hot(y, 4).float()], 1))
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
        kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
        bounds[:, label] = -nll - kl
    torch.testing.assert_close(model.class_bounds(x), bounds)
    assert torch.equal(z[:, 3:].argmax(1), bounds.argmax(1))
    assert torch.equal(z[:, 3:].sum(1), torch.ones(5))
    mu = model.posterior_given(x, bounds.argmax(1))[0]
    torch.testing.assert_close(z[:, :3], mu)
    torch.testing.assert_close(model.features(x), mu)
    y = bounds.argmax(1)
    y[0] = (y[0] + 1) % 4
    accuracy = model.validation_step((x, y), 0)["class_accuracy"]
    assert accuracy.item() == pytest.approx(4 / 5)


@pytest.mark.parametrize("classes", [0, 1])
def test_data_without_labels_are_an_error(classes):
    with pytest.raises(ValueError, match="needs labels of 2 classes or more"):
        ConditionalVAE((1, 8, 8), classes)
    assert ConditionalVAE((1, 8, 8), 2).num_classes == 2


def test_the_model_sets_the_classes_of_its_sampler_which_must_be_class_conditional():
    prior = ClassConditional()
    model = ConditionalVAE((1, 8, 8), 3, prior=prior, noise_dim=4)
    z = prior.sample((50, model.latent_dim))
    assert torch.equal(z[:, 4:].sum(1), torch.ones(50))
    with pytest.raises(ValueError, match="StandardNormal, whose codes contain no class"):
        ConditionalVAE((1, 8, 8), 3, prior=StandardNormal())


def test_condition_replaces_the_class_of_a_code():
    model = ConditionalVAE((1, 8, 8), 3, noise_dim=2)
    assert isinstance(model, ClassConditionalModel)
    z = torch.tensor([[0.5, -1.0, 1.0, 0.0, 0.0], [2.0, 3.0, 0.0, 1.0, 0.0]])
    expected = [[0.5, -1.0, 0.0, 0.0, 1.0], [2.0, 3.0, 1.0, 0.0, 0.0]]
    assert model.condition(z, torch.tensor([2, 0])).tolist() == expected
