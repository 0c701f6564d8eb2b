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
from latentlab.diagnostics.metrics.importance_sampling import Bounds
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
    monkeypatch.setattr(likelihood, "MAX_DECODED", 5000 * 4 * 150)
    metrics = likelihood.diagnose(on_2x2(model), evaluator_of(images)).metrics
    assert metrics["num_gap_images"] == 150
    assert metrics["elbo_nats"] < metrics["log_px_nats"]
    error = 2 * metrics["gap_ci95_nats"] + 0.1
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
        monkeypatch.setattr(likelihood, "MAX_DECODED", 5000 * 4 * 100)
        test = Split(two_clusters(300), torch.arange(300) % 3)
        evaluator = SimpleNamespace(test=test, settings=SimpleNamespace(seed=0))
        likelihood.diagnose(on_2x2(model, sampler=None), evaluator)
        decoded[type(model)] = sum(counts)
    assert decoded[ConditionalVAE] == pytest.approx(decoded[VAE], rel=0.02)


def test_bits_of_grey_levels_have_a_twentieth_of_the_budget(monkeypatch):
    """300 of 6000 images for densities. A mass of a level takes 5 times fewer codes."""
    monkeypatch.setattr(likelihood, "MAX_DECODED", 5000 * 4 * 300)
    counts, log_likelihood = [], likelihood.log_likelihood

    def counted(model, x, y, *, num_samples, seed):
        counts.append((len(x), num_samples[-1]))
        few = x[:10], y[:10]
        return log_likelihood(model, *few, num_samples=[min(n, 2) for n in num_samples], seed=seed)

    monkeypatch.setattr(likelihood, "log_likelihood", counted)
    model = linear_vae(likelihood="gaussian")
    likelihood.diagnose(on_2x2(model), evaluator_of(two_clusters(6000)))
    assert counts == [(6000, 5), (300, 5000), (6000, 5), (300 * 5 // 20, 1000)]


@pytest.mark.parametrize(("count", "expected"), [(60, 60), (300, 100), (1500, 150), (9000, 400)])
def test_a_tenth_of_the_images_measures_the_gap(monkeypatch, count, expected):
    """At least 100 images, and at most those that MAX_DECODED allows, here 400."""
    monkeypatch.setattr(likelihood, "MAX_DECODED", 5000 * 4 * 400)
    assert likelihood.num_gap_images(linear_vae(), torch.zeros(count, *SHAPE), 0) == expected


class OneCode:
    """p(x|z) of linear_vae with weights 0: the decoder ignores z, so that log p(x) is exact.

    `mean` is the mean of each pixel of x̂ before the likelihood, (4,).
    """

    def __init__(self, **settings):
        self.model = linear_vae(**settings)
        for part in (self.model.encoder, self.model.decoder):
            layer = linear_layer(part)
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

    def diagnose(self, images):
        return likelihood.diagnose(on_2x2(self.model), evaluator_of(images)).metrics


def levels_image(levels, count, rows=200):
    """uint8 images (N, 1, 2, 2) of `count` evenly spaced grey levels; the first holds `levels`."""
    index = torch.randint(count, (rows, 4), generator=torch.Generator().manual_seed(0))
    index[0, : len(levels)] = torch.tensor(levels)
    return (255 * index.double() / (count - 1)).round().to(torch.uint8).view(rows, 1, 2, 2)


@pytest.mark.parametrize(
    ("name", "count"), [("gaussian", 17), ("gaussian", 256), ("discretized_gaussian", 17)]
)
def test_bits_per_dimension_are_those_of_the_grey_levels_of_the_data(name, count):
    """A decoder without information: the mass of N(mean, 0.3²) on each of the L levels."""
    exact = OneCode(likelihood=name, scale=0.3)
    mean = 0.5 if name == "gaussian" else 0.0  # σ(0), and 0
    images = levels_image([0, count - 1, count // 2, 1], count)
    index = to_float(images).double().mul(count - 1).round()
    edges = [torch.full_like(index, math.inf), torch.full_like(index, -math.inf)]
    high = torch.where(index == count - 1, edges[0], (index + 0.5) / (count - 1))
    low = torch.where(index == 0, edges[1], (index - 0.5) / (count - 1))
    normal = Normal(torch.tensor(mean).double(), 0.3)
    log_p = (normal.cdf(high) - normal.cdf(low)).log().flatten(1).sum(1)
    metrics = exact.diagnose(images)
    assert metrics["num_grey_levels"] == count
    assert metrics["bits_per_dim"] == pytest.approx(float(-log_p.mean()) / (4 * math.log(2)), 1e-4)
    if name == "gaussian":
        density = normal.log_prob(to_float(images).double()).flatten(1).sum(1).mean()
        assert metrics["log_px_nats"] == pytest.approx(float(density), rel=1e-4)
    assert exact.model.likelihood.num_levels is None


def test_bits_of_a_categorical_likelihood_are_over_256_levels():
    metrics = OneCode(likelihood="categorical").diagnose(levels_image([0, 16], 17, rows=20))
    expected = -metrics["log_px_nats"] / (4 * math.log(2))
    assert metrics["bits_per_dim"] == pytest.approx(expected)
    assert metrics["num_grey_levels"] == 256


def test_binary_likelihoods_have_no_bits_of_grey_levels():
    metrics = OneCode(likelihood="bernoulli").diagnose(two_clusters(20))
    assert not {"bits_per_dim", "num_grey_levels"} & set(metrics)


class FewWeights(torch.nn.Module):
    """log w = −`decay` · s for code s: few codes matter if `decay` is large."""

    def __init__(self, decay):
        super().__init__()
        self.decay, self.likelihood = decay, SimpleNamespace(name="other", outputs=1)

    def log_weights(self, x, y, num_samples):
        noise = x.flatten(1).mean(1) * torch.rand(num_samples, len(x))
        return noise - self.decay * torch.arange(num_samples)[:, None]


@pytest.mark.parametrize(("decay", "converged"), [(0.0, True), (1.0, False)])
def test_a_bound_with_few_effective_codes_has_a_sign_and_a_warning(monkeypatch, decay, converged):
    monkeypatch.setitem(likelihood.OBSERVATIONS, "other", "test images")
    result = likelihood.diagnose(on_2x2(FewWeights(decay)), evaluator_of(two_clusters(30)))
    assert result.metrics["log_px_converged"] == float(converged)
    size = result.metrics["effective_sample_size"]
    assert size > 4500 if converged else size < 3
    assert result.metrics["low_effective_fraction"] == float(not converged)
    assert result.summary.startswith("log p(x) = " if converged else "log p(x) ≥ ")
    assert bool(result.warnings) != converged
    assert result.metrics["num_importance_samples"] == 5000
    bits = f"{result.metrics['bits_per_dim']:.3f} bits per value"
    low = "0 %" if converged else "100 %"
    assert f", {bits}" in result.summary if converged else f", ≤ {bits}" in result.summary
    assert f"{low} of the images are below 20. " in result.summary
    assert ("The bound has not converged" in result.summary) != converged
    if not converged:
        assert "effective sample size" in result.warnings[0]


def bounds_with(last_two, sizes, images=40):
    """An estimate whose bounds end with two rows, and whose gap has a spread of ± 1 nat."""
    rise = torch.zeros(2, images, dtype=torch.float64)
    rise[1] = last_two
    gap = torch.linspace(-1, 1, images, dtype=torch.float64)
    elbo = torch.zeros(images, dtype=torch.float64)
    return likelihood.Estimate(elbo, gap, Bounds(elbo, rise, torch.tensor(sizes)), None)


@pytest.mark.parametrize(
    ("rise", "low", "converged"), [(0.05, 2, 1), (0.3, 2, 0), (0.05, 3, 0), (0.15, 0, 1)]
)
def test_convergence_needs_a_small_rise_and_at_most_5_percent_of_low_sizes(rise, low, converged):
    """Two standard errors of the mean of 40 values in [−1, 1] are 0.19 nats."""
    sizes = [19.0] * low + [21.0] * (40 - low)
    metrics = likelihood._metrics(bounds_with(rise, sizes), seed=0)
    assert metrics["gap_ci95_nats"] == pytest.approx(0.185, abs=0.015)
    assert metrics["low_effective_fraction"] == low / 40
    assert metrics["log_px_converged"] == converged


def test_the_table_has_the_bound_for_each_number_of_codes():
    torch.manual_seed(0)
    model = linear_vae(likelihood="gaussian", scale=0.3)
    result = likelihood.diagnose(on_2x2(model), evaluator_of(two_clusters(60)))
    values = [row["bound of log p(x), nats"] for row in result.table.values()]
    assert list(result.table) == ["1 code", "10 codes", "100 codes", "1,000 codes", "5,000 codes"]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(result.metrics["log_px_nats"])
    assert values[0] == pytest.approx(values[-1] - result.metrics["gap_nats"])
    assert result.metrics["last_rise_nats"] == pytest.approx(values[-1] - values[-2])


def test_the_elbo_is_the_mean_over_three_binarizations(monkeypatch):
    images = two_clusters(50)
    trained = on_2x2(linear_vae(binarize="dynamic"))
    test, single = Split(images), []
    observed, _ = likelihood.observations(trained, test, 0)
    assert len(observed) == 3
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in observed)
    assert not torch.equal(observed[0], observed[1])
    whole = float(likelihood.estimate(trained, test, seed=0).elbo.mean())
    for x in observed:
        monkeypatch.setattr(
            likelihood, "observations", lambda *_, x=x: ([x], torch.zeros(50).long())
        )
        single.append(float(likelihood.estimate(trained, test, seed=0).elbo.mean()))
    assert len(set(single)) == 3
    assert whole == pytest.approx(sum(single) / 3)


@pytest.mark.parametrize("count", [1, 40])
def test_only_the_first_test_images_are_used(monkeypatch, count):
    images = two_clusters(90)
    trained = on_2x2(linear_vae(likelihood="gaussian"))
    expected = likelihood.diagnose(trained, evaluator_of(images[:count]))
    monkeypatch.setattr(likelihood, "MAX_TEST_IMAGES", count)
    found = likelihood.diagnose(trained, evaluator_of(images))
    assert found.metrics == pytest.approx(expected.metrics, nan_ok=True)  # no interval of one
    assert found.summary == expected.summary


def test_applies_to_models_with_importance_weights_only():
    assert likelihood.applies(VAE((1, 8, 8)))
    assert not likelihood.applies(VQVAE((1, 8, 8), width=2))
