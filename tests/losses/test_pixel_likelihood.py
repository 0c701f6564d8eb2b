"""Likelihoods of pixels: each sums or integrates to one; means, deviations and samples agree."""

import itertools
import math

import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from torch.distributions import Categorical, Normal

from latentlab.losses.pixel_likelihood import (
    PixelLikelihood,
    bits_per_dim,
    categorical_nll,
)

LEVELS = torch.arange(256)


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def test_bernoulli_sums_to_one_over_all_binary_images():
    likelihood = PixelLikelihood("bernoulli")
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    logits = torch.randn(1, 1, 2, 2, dtype=torch.float64).expand(16, 1, 2, 2)
    assert float((-likelihood.nll(logits, images.view(16, 1, 2, 2))).exp().sum()) == pytest.approx(
        1
    )


def test_gaussian_integrates_to_one_and_has_its_mean():
    likelihood = PixelLikelihood("gaussian", scale=0.3).double()
    logit = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64)

    def density(x):
        return math.exp(-float(likelihood.nll(logit, torch.full_like(logit, x))))

    assert quad(density, -3, 4)[0] == pytest.approx(1)
    assert quad(lambda x: x * density(x), -3, 4)[0] == pytest.approx(float(likelihood.mean(logit)))


def test_categorical_sums_to_one_over_all_grey_levels_and_has_its_mean():
    likelihood = PixelLikelihood("categorical").double()
    outputs = torch.randn(1, likelihood.outputs, 1, 2, dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64) / 255
    pairs = torch.cartesian_prod(levels, levels).view(-1, 1, 1, 2)
    p = (-likelihood.nll(outputs.expand(len(pairs), -1, -1, -1), pairs)).exp().detach()
    assert float(p.sum()) == pytest.approx(1)
    mean = (p[:, None] * pairs.flatten(1)).sum(0)
    torch.testing.assert_close(likelihood.mean(outputs).detach().flatten(), mean)


@pytest.mark.parametrize("num_biases", [1, 7])
def test_categorical_and_its_gradients_are_those_of_torch_distributions(num_biases):
    """1,536 rows of one value, or 220 of 7: several parts either way."""
    rows = 1536 // num_biases if num_biases == 1 else 220
    hidden = torch.randn(rows, num_biases, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(256, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(num_biases, 256, dtype=torch.float64, requires_grad=True)
    level = torch.randint(256, (rows, num_biases))
    weigh = torch.randn(rows, num_biases, dtype=torch.float64)
    expected = -Categorical(logits=hidden @ weight.T + bias).log_prob(level)
    nll = categorical_nll(hidden, weight, bias, level)
    torch.testing.assert_close(nll, expected)
    leaves = [hidden, weight, bias]
    wanted = torch.autograd.grad((weigh * expected).sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad((weigh * nll).sum(), leaves), wanted)


@pytest.mark.parametrize("num_pixels", [None, 32 * 32])
def test_categorical_has_the_logits_of_a_few_values_in_memory(monkeypatch, num_pixels):
    sizes, linear = [], torch.nn.functional.linear

    def counted(*args):
        logits = linear(*args)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    likelihood = PixelLikelihood("categorical", num_pixels=num_pixels)
    outputs = torch.randn(4, likelihood.outputs, 32, 32, requires_grad=True)
    likelihood.nll(outputs, torch.rand(4, 1, 32, 32)).sum().backward()
    assert len(sizes) == 2 * 4
    for function in (likelihood.mean, likelihood.std, likelihood.sample):
        with torch.inference_mode():
            function(outputs)
    assert max(sizes) == 256 * 1024


def test_categorical_logits_are_not_rounded_under_autocast():
    likelihood, x = PixelLikelihood("categorical"), torch.rand(2, 1, 4, 4)
    outputs = torch.randn(2, likelihood.outputs, 4, 4, requires_grad=True)
    wanted = likelihood.nll(outputs, x)
    (slope,) = torch.autograd.grad(wanted.sum(), outputs)
    with torch.autocast("cpu", torch.bfloat16):
        got = likelihood.nll(outputs, x)
        got.sum().backward()  # as a model with optimizers of its own does
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(outputs.grad, slope)


def test_gaussian_is_the_one_of_torch_distributions():
    likelihood = PixelLikelihood("gaussian", scale=0.2)
    logits, x = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    expected = -Normal(logits.sigmoid(), 0.2).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.nll(logits, x), expected, rtol=1e-4, atol=1e-4)


def test_gaussian_outputs_of_half_precision_do_not_round_the_scale():
    likelihood = PixelLikelihood("gaussian", scale=0.1)
    outputs, x = torch.randn(3, 1, 8, 8).bfloat16(), torch.rand(3, 1, 8, 8)
    expected = -Normal(outputs.double().sigmoid(), 0.1).log_prob(x.double()).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.nll(outputs, x).double(), expected, rtol=1e-4, atol=1e-3)


def test_mean_and_std_of_a_categorical_are_those_of_its_probabilities():
    likelihood = PixelLikelihood("categorical")
    outputs = torch.randn(2, 3 * likelihood.outputs, 20, 30)  # 3 colours, several parts
    with torch.inference_mode():
        mean, std = likelihood.mean(outputs), likelihood.std(outputs)
    hidden = torch.nn.functional.gelu(outputs.view(2, 3, 8, 20, 30).permute(0, 1, 3, 4, 2))
    p = Categorical(logits=hidden @ likelihood.head.weight.T + likelihood.head.bias).probs.detach()
    levels = torch.arange(256) / 255
    torch.testing.assert_close(mean, (p * levels).sum(-1))
    variance = (p * (levels - mean[..., None]).square()).sum(-1)
    torch.testing.assert_close(std, variance.sqrt(), rtol=1e-4, atol=1e-5)


def test_binary_observations_are_sampled_again_with_the_grey_level_as_probability():
    likelihood = PixelLikelihood("bernoulli", binary=True)
    x = torch.tensor([0.0, 0.2, 0.9, 1.0]).expand(20_000, 4)
    sample = likelihood.observe(x)
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(sample.mean(0), x[0], atol=0.015, rtol=0)
    assert not torch.equal(sample, likelihood.observe(x))
    assert torch.equal(PixelLikelihood("bernoulli").observe(x), x)


CASES = {
    "bernoulli": {"name": "bernoulli"},
    "gaussian": {"name": "gaussian", "scale": 0.1},
    "fixed": {"name": "discretized_gaussian", "scale": 0.1},
    "learned": {"name": "discretized_gaussian"},
    "pixel": {"name": "discretized_gaussian", "scale": "pixel"},
    "categorical": {"name": "categorical"},
    "pixel bias": {"name": "categorical", "num_pixels": 6},
}
DISCRETE = {case: CASES[case] for case in CASES if case != "gaussian"}


def make(case):
    """A likelihood of images (1, 2, 3), and outputs for one image."""
    torch.manual_seed(0)
    likelihood = PixelLikelihood(**CASES[case]).requires_grad_(False)
    if case == "pixel bias":
        likelihood.pixel_bias.normal_()
    outputs = torch.randn(1, likelihood.outputs, 2, 3)
    if likelihood.name == "discretized_gaussian":
        outputs[:, 0] = 0.5 + outputs[:, 0] / 4  # the mean of a pixel, mostly in [0, 1]
    return likelihood, outputs


def values_of(likelihood):
    return torch.tensor([0.0, 1.0]) if likelihood.name == "bernoulli" else LEVELS / 255


def log_masses(likelihood, outputs):
    """log p(x_i = v | z) of pixel i and value v, (V, 6), from the nll of images of one pixel."""
    values = values_of(likelihood).view(-1, 1, 1, 1)
    columns = []
    for pixel in range(6):
        one = outputs.flatten(2)[:, :, pixel, None, None].expand(len(values), -1, -1, -1)
        columns.append(-likelihood.nll(one, values, torch.tensor([pixel])))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("case", DISCRETE)
def test_every_pixel_has_total_mass_one(case):
    total = log_masses(*make(case)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(6), atol=1e-3, rtol=0)


@pytest.mark.parametrize("case", DISCRETE)
def test_the_nll_of_an_image_is_the_sum_over_its_pixels(case):
    likelihood, outputs = make(case)
    index = torch.randint(len(values_of(likelihood)), (6,))
    x = values_of(likelihood)[index].view(1, 1, 2, 3)
    expected = -log_masses(likelihood, outputs)[index, torch.arange(6)].sum()
    assert float(likelihood.nll(outputs, x)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("case", DISCRETE)
def test_samples_follow_the_masses(case):
    """Chi-squared of 4,000 samples per pixel, in bins of the levels."""
    likelihood, outputs = make(case)
    samples = likelihood.sample(outputs.expand(4000, -1, -1, -1)).view(4000, 6)
    p, size = log_masses(likelihood, outputs).exp().double(), len(values_of(likelihood))
    bins = min(size, 16)
    for pixel in range(6):
        index = (samples[:, pixel] * (size - 1)).round().long()
        counts = torch.bincount(index, minlength=size).view(bins, -1).sum(1).double()
        expected = 4000 * p[:, pixel].view(bins, -1).sum(1)
        keep = expected > 5
        rest, expected_rest = float(counts[~keep].sum()), float(expected[~keep].sum())
        assert rest <= expected_rest + 10 * math.sqrt(expected_rest) + 5
        observed, wanted = counts[keep], expected[keep]
        wanted = wanted * observed.sum() / wanted.sum()
        assert stats.chisquare(observed.numpy(), wanted.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("case", DISCRETE)
def test_moments_are_those_of_the_masses(case):
    likelihood, outputs = make(case)
    values = values_of(likelihood).double()
    mean, std = likelihood.mean(outputs).flatten(), likelihood.std(outputs).flatten()
    for pixel, p in enumerate(log_masses(likelihood, outputs).exp().double().T):
        reference = stats.rv_discrete(values=(range(len(values)), (p / p.sum()).numpy()))
        assert float(mean[pixel]) == pytest.approx(reference.mean() / (len(values) - 1), rel=1e-5)
        assert float(std[pixel]) == pytest.approx(reference.std() / (len(values) - 1), rel=1e-4)


def test_gaussian_samples_follow_the_density():
    likelihood, outputs = make("gaussian")
    samples = likelihood.sample(outputs.expand(2000, -1, -1, -1))
    standardized = (samples - likelihood.mean(outputs)) / likelihood.std(outputs)
    assert stats.kstest(standardized.flatten().numpy(), "norm").pvalue > 1e-3
    assert float(likelihood.std(outputs).unique()) == pytest.approx(0.1)


def test_the_nll_of_a_grey_pixel_under_a_bernoulli_is_the_mean_over_binary_pixels():
    likelihood = PixelLikelihood("bernoulli")
    outputs, x = torch.tensor([0.7, -1.3]).view(2, 1, 1, 1), torch.tensor([0.25, 0.6])
    zero, one = (likelihood.nll(outputs, torch.full((2, 1, 1, 1), v)) for v in (0.0, 1.0))
    expected = (1 - x) * zero + x * one
    torch.testing.assert_close(likelihood.nll(outputs, x.view(2, 1, 1, 1)), expected)


def test_the_scale_of_each_pixel_stays_above_the_minimum():
    """Rounding to levels adds the variance of a uniform number, 1/12 of a level²."""
    likelihood = PixelLikelihood("discretized_gaussian", scale="pixel", min_scale=0.05)
    outputs = torch.randn(3, 2, 4, 4)
    outputs[:, 0] = 0.5
    with torch.no_grad():
        likelihood.log_scale -= 50
        std = likelihood.std(outputs)
    expected = math.sqrt(0.05**2 + 1 / 12 / 255**2)
    torch.testing.assert_close(std, torch.full((3, 1, 4, 4), expected))


def test_the_scale_of_a_pixel_is_the_softplus_of_its_output_above_the_minimum():
    likelihood = PixelLikelihood("discretized_gaussian", scale="pixel", min_scale=0.03)
    offset = torch.tensor([-2.0, 0.0, -0.7])
    outputs = torch.stack([torch.full((3,), 0.5), offset]).view(1, 2, 1, 3)
    above = (1 + (math.log(0.1) + offset - math.log(0.03)).exp()).log()
    scale = 0.03 * above.exp()
    std = (scale.square() + 1 / (12 * 255**2)).sqrt()  # of a rounded Gaussian, far from the ends
    torch.testing.assert_close(likelihood.std(outputs).flatten(), std, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("scale", "start"), [(None, 0.1), (0.3, 0.3), (2, 2.0)])
def test_a_scale_starts_at_its_number_and_a_learned_one_at_a_tenth(scale, start):
    likelihood = PixelLikelihood("gaussian", scale=scale)
    assert likelihood.log_scale.exp().item() == pytest.approx(start)
    assert likelihood.log_scale.requires_grad == (scale is None)


def test_a_pixel_of_one_certain_level_has_no_deviation():
    """The second moment minus the squared mean is rounded, and must not be below 0."""
    likelihood = PixelLikelihood("categorical", num_pixels=256)
    likelihood.head.weight.data.zero_()
    likelihood.pixel_bias.data = 1000 * torch.eye(256)
    outputs = torch.zeros(1, 8, 16, 16)
    torch.testing.assert_close(likelihood.mean(outputs).flatten(), torch.arange(256) / 255)
    assert likelihood.std(outputs).max().item() < 1e-3
    assert torch.equal(likelihood.sample(outputs).flatten(), torch.arange(256) / 255)


def test_samples_of_levels_end_at_0_and_1():
    likelihood = PixelLikelihood("discretized_gaussian", scale=0.01)
    outputs = torch.tensor([-0.5, 1.5, 0.5]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    samples = likelihood.sample(outputs)
    assert samples[0].unique().tolist() == [0]
    assert samples[1].unique().tolist() == [1]
    levels = 255 * samples[2]
    torch.testing.assert_close(levels, levels.round())


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_only_a_gaussian_is_scored_with_other_levels(name):
    with (
        pytest.raises(ValueError, match="can be scored with other levels"),
        PixelLikelihood(name).scored_by_levels(2),
    ):
        pass
    gaussian = PixelLikelihood("gaussian", scale=0.2)
    with gaussian.scored_by_levels(2):
        outputs, x = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
        assert gaussian.nll(outputs, x).item() == pytest.approx(math.log(2))  # mean 0.5: P = ½
    assert gaussian.num_levels is None


def test_a_second_derivative_of_categorical_is_an_error():
    hidden = torch.randn(2, 3, 8, requires_grad=True)
    weight, bias = torch.randn(256, 8), torch.zeros(3, 256)
    nll = categorical_nll(hidden, weight, bias, torch.zeros(2, 3, dtype=torch.int64))
    nll = nll.square().sum()
    (gradient,) = torch.autograd.grad(nll, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_black_pixel_is_as_certain_as_its_samples():
    """A Gaussian that is clipped at 0 has another mean and deviation than μ and σ."""
    likelihood = PixelLikelihood("discretized_gaussian", scale=0.1).requires_grad_(False)
    outputs = torch.full((1, 1, 1, 2), -0.2)
    outputs[..., 1] = 0.02
    samples = likelihood.sample(outputs.expand(50_000, -1, -1, -1)).double()
    mean, std = likelihood.mean(outputs)[0].double(), likelihood.std(outputs)[0].double()
    torch.testing.assert_close(mean, samples.mean(0), rtol=0.1, atol=0)
    torch.testing.assert_close(std, samples.std(0), rtol=0.1, atol=0)
    assert std[..., 0] < 0.02


def test_bits_per_dim_of_uniform_levels_are_eight():
    nll = torch.tensor([20 * math.log(256)])
    assert float(bits_per_dim(nll, 20)) == pytest.approx(8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "poisson"}, "choose one of bernoulli, gaussian, discretized_gaussian, categor"),
        ({"name": "gaussian", "scale": 0.0}, r"scale is 0\.0: a standard deviation is .* > 0"),
        ({"name": "gaussian", "scale": "pixel"}, "choose discretized_gaussian, or a number"),
        ({"name": "discretized_gaussian", "scale": -0.1}, r"scale is -0\.1: .* > 0"),
        ({"name": "discretized_gaussian", "scale": "none"}, "scale is 'none'"),
        ({"name": "discretized_gaussian", "min_scale": 0.0}, r"min_scale is 0\.0"),
        ({"name": "bernoulli", "scale": 0.1}, "a bernoulli likelihood has none"),
        ({"name": "gaussian", "binary": True}, "set likelihood: bernoulli"),
    ],
)
def test_invalid_settings_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelLikelihood(**arguments)
