"""Likelihood of models whose log p(x) is known, or is an integral over one latent unit."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from diagnostics.stand_ins import evaluator_of, on_2x2, two_clusters
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import likelihood
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE
from latentlab.networks.mlp import MLP
from latentlab.samplers import ClassConditional, StandardNormal

SHAPE = (1, 2, 2)


def linear_vae(**settings):
    return VAE(SHAPE, latent_dim=2, network=MLP(hidden=[]), **settings)


def linear_layer(module):
    (layer,) = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
    return layer


def test_log_px_is_the_elbo_plus_the_gap_and_equals_the_exact_value(monkeypatch):
    """A linear-Gaussian model."""
    torch.manual_seed(0)
    model = linear_vae(likelihood="gaussian", scale=0.3)
    model.likelihood.mean = lambda outputs: outputs
    images = two_clusters(1500)
    layer = linear_layer(model.decoder)
    weight = layer.weight.detach()
    covariance = weight @ weight.T + 0.09 * torch.eye(4)
    x = to_float(images).flatten(1)
    exact = MultivariateNormal(layer.bias.detach(), covariance).log_prob(x).mean()
    monkeypatch.setattr(likelihood, "MAX_DECODED", 1000 * 4 * 150)
    metrics = likelihood.diagnose(on_2x2(model), evaluator_of(images)).metrics
    assert metrics["num_gap_images"] == 150
    assert metrics["elbo_nats"] < metrics["log_px_nats"]
    error = 4 * metrics["gap_standard_error_nats"] + 0.1
    assert metrics["log_px_nats"] == pytest.approx(float(exact), abs=error)
    gap = metrics["log_px_nats"] - metrics["elbo_nats"]
    assert math.isclose(metrics["gap_nats"], gap, rel_tol=1e-5)


def class_sampler(probabilities):
    """No sampler for None; an unfitted one for no probabilities; else one fitted to 10 labels."""
    if probabilities is None:
        return StandardNormal()
    sampler = ClassConditional()
    sampler.num_classes = 3
    if probabilities:
        counts = (10 * torch.tensor(probabilities)).round().long()
        sampler.fit_classes(torch.arange(3).repeat_interleave(counts))
    return sampler


@pytest.mark.parametrize("probabilities", [None, [], [0.7, 0.2, 0.1]])
def test_log_px_of_a_conditional_model_is_the_sum_over_its_classes(probabilities):
    """log p(x) and log p(x|y) of all binary images of 2×2, compared with numerical integrals."""
    torch.manual_seed(0)
    model = ConditionalVAE(SHAPE, 3, noise_dim=1, hidden=[6])
    first = next(part for part in model.decoder.modules() if isinstance(part, torch.nn.Linear))
    with torch.no_grad():
        first.weight[:, 1:] *= 12  # the class has a large effect
    bits = torch.arange(48) % 16
    x = (bits[:, None] >> torch.arange(4) & 1).view(48, 1, 2, 2)
    grid = torch.linspace(-8, 8, 801)[:, None]
    log_p = torch.empty(48, 3)  # log p(x|k)
    for k in range(3):
        codes = torch.cat([grid, F.one_hot(torch.tensor(k), 3).expand(801, 3)], 1)
        each = Bernoulli(model.decode(codes).detach()[:, None]).log_prob(x.float()).sum((2, 3, 4))
        joint = each + Normal(0.0, 1.0).log_prob(grid)
        log_p[:, k] = joint.logsumexp(0) + math.log(16 / 800)
    p_y = torch.tensor(probabilities) if probabilities else torch.full((3,), 1 / 3)
    log_px, y = (log_p + p_y.log()).logsumexp(1).mean(), log_p.argmax(1)
    given_class = log_p.gather(1, y[:, None]).mean()
    test = Split((255 * x).to(torch.uint8), y)
    trained = on_2x2(model, sampler=class_sampler(probabilities))
    evaluator = SimpleNamespace(test=test, settings=SimpleNamespace(seed=0))
    metrics = likelihood.diagnose(trained, evaluator).metrics
    assert given_class - log_px > 0.3, "the class contains information about the image"
    assert metrics["log_px_nats"] == pytest.approx(float(log_px), abs=0.03)
    assert metrics["log_px_given_class_nats"] == pytest.approx(float(given_class), abs=0.03)
    assert metrics["elbo_nats"] < float(log_px)


def test_models_without_classes_have_no_conditional_likelihood(monkeypatch):
    monkeypatch.setattr(likelihood, "MAX_DECODED", 0)
    model = linear_vae(binarize="dynamic")
    metrics = likelihood.diagnose(on_2x2(model), evaluator_of(two_clusters(30))).metrics
    assert "log_px_given_class_nats" not in metrics


def test_a_conditional_model_decodes_as_many_codes_as_another(monkeypatch):
    decoded = {}
    for model in (linear_vae(), ConditionalVAE(SHAPE, 3, noise_dim=2, hidden=[4])):
        counts = []
        log_weights = model.log_weights

        def counted(x, y, num_samples, log_weights=log_weights, counts=counts):
            counts.append(len(x) * num_samples)
            return log_weights(x, y, num_samples)

        model.log_weights = counted
        monkeypatch.setattr(likelihood, "MAX_DECODED", 1000 * 4 * 100)
        test = Split(two_clusters(300), torch.arange(300) % 3)
        evaluator = SimpleNamespace(test=test, settings=SimpleNamespace(seed=0))
        likelihood.diagnose(on_2x2(model, sampler=None), evaluator)
        decoded[type(model)] = sum(counts)
    assert decoded[ConditionalVAE] == pytest.approx(decoded[VAE], rel=0.01)


@pytest.mark.parametrize(("count", "expected"), [(60, 60), (300, 100), (1500, 150), (9000, 400)])
def test_a_tenth_of_the_images_measures_the_gap(monkeypatch, count, expected):
    """At least 100 images, and at most those that MAX_DECODED allows, here 400."""
    monkeypatch.setattr(likelihood, "MAX_DECODED", 1000 * 4 * 400)
    assert likelihood.num_gap_images(linear_vae(), torch.zeros(count, *SHAPE), 0) == expected


def test_bits_per_dimension_are_those_of_log_px(monkeypatch):
    monkeypatch.setattr(likelihood, "MAX_DECODED", 0)
    model = linear_vae(likelihood="discretized_gaussian")
    metrics = likelihood.diagnose(on_2x2(model), evaluator_of(two_clusters(30))).metrics
    expected = -metrics["log_px_nats"] / (4 * math.log(2))
    assert metrics["bits_per_dim"] == pytest.approx(expected)


def test_only_the_first_test_images_are_used(monkeypatch):
    images = two_clusters(90)
    trained = on_2x2(linear_vae())
    expected = likelihood.diagnose(trained, evaluator_of(images[:40]))
    monkeypatch.setattr(likelihood, "MAX_TEST_IMAGES", 40)
    found = likelihood.diagnose(trained, evaluator_of(images))
    assert (found.metrics, found.summary) == (expected.metrics, expected.summary)


def test_applies_to_models_with_importance_weights_only():
    assert likelihood.applies(VAE((1, 8, 8)))
    assert not likelihood.applies(VQVAE((1, 8, 8), width=2))
