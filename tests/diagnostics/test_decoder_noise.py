"""Decoder noise: likelihoods compared with torch.distributions, errors with variances."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Bernoulli, Categorical

from diagnostics.stand_ins import evaluator_of, figure_inputs, save_figures
from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import decoder_noise
from latentlab.inference.trained import TrainedModel
from latentlab.models.linear_ae import LinearAE
from latentlab.models.stochastic_ae import StochasticAE

SHAPE = (1, 8, 8)


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


@pytest.fixture
def evaluator():
    evaluator = evaluator_of(images(40, 0))
    evaluator.test = Split(images(30, 1))
    return evaluator


@pytest.mark.parametrize("count", [1, 50])
def test_marginal_is_the_histogram_of_each_pixel(count):
    train, x = images(count, 3) // 64 * 21, to_float(images(4, 4) // 64 * 21)
    expected = torch.zeros(4)
    for row in range(8):
        for column in range(8):
            counts = torch.bincount(train[:, 0, row, column].long(), minlength=256) + 1.0
            levels = (x[:, 0, row, column] * 255).round().long()
            expected -= Categorical(probs=counts / counts.sum()).log_prob(levels)
    assert torch.allclose(decoder_noise.marginal_nll(train, x), expected, rtol=1e-5)


def test_binary_marginal_is_the_cross_entropy_of_the_mean_image():
    train, x = images(50, 5), to_float(images(4, 6))
    p = (to_float(train).sum(0) + 1) / 52
    reference = Bernoulli(probs=p, validate_args=False).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(decoder_noise.binary_marginal_nll(train, x), -reference, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ({"likelihood": "discretized_gaussian", "scale": 0.05}, "bits_per_dim"),
        ({"likelihood": "categorical"}, "bits_per_dim"),
        ({"likelihood": "bernoulli"}, "binary_bits_per_dim"),
    ],
)
def test_the_error_of_samples_is_that_of_the_mean_plus_the_variance(
    settings, unit, evaluator, tmp_path
):
    torch.manual_seed(0)
    model = StochasticAE(SHAPE, hidden=[8], **settings).eval()
    if "scale" in settings:
        bias = [p for name, p in model.decoder.named_parameters() if name.endswith("bias")][-1]
        torch.nn.init.constant_(bias, 0.5)  # far from 0 and 1, where samples are clipped
    assert decoder_noise.applies(model)
    trained = TrainedModel("it", Path(), model, None, SHAPE, EvaluationSettings(), {})
    result = decoder_noise.diagnose(trained, evaluator)
    x = to_float(evaluator.test.images)
    with torch.no_grad():
        variance = model.decode_std(model.encode(x)).square().sum((1, 2, 3)).mean()
        step = model.validation_step((x, None), 0)
    added = result.metrics["sse_of_sample"] - result.metrics["sse_of_mean"]
    assert added == pytest.approx(float(variance), rel=0.25)
    assert result.metrics[unit] == pytest.approx(float(step[unit]), rel=1e-4)
    assert save_figures(result, tmp_path)["samples"] == ((10 * 9 - 1) * 8, (5 * 9 - 1) * 8)


COLOR = (3, 2, 2)


class Darker:
    """The mean is x / 2, with normal noise of deviation 0.1, or 0.2 in the first channel.

    −log p(x|z) is taken to be Σ x. The image is its own code.
    """

    def __init__(self, likelihood):
        self.likelihood = SimpleNamespace(name=likelihood)

    def encode(self, x):
        assert x.shape[1:] == COLOR
        return x.flatten(1)

    def decode(self, z):
        return z.unflatten(1, COLOR) / 2

    def nll(self, x, z):
        assert not torch.is_grad_enabled()
        assert torch.equal(x.flatten(1), z)
        return z.sum(1)

    def decode_std(self, z):
        return torch.tensor([0.2, 0.1, 0.1])[:, None, None].expand(len(z), *COLOR)

    def sample_pixels(self, z):
        return self.decode(z) + self.decode_std(z) * torch.randn(len(z), *COLOR)


@pytest.mark.parametrize(("likelihood", "count"), [("gaussian", 150), ("bernoulli", 1)])
def test_metrics_and_figure_of_color_images_equal_those_by_hand(monkeypatch, likelihood, count):
    monkeypatch.setattr(decoder_noise, "NUM_IMAGES", count)
    monkeypatch.setattr(decoder_noise, "NUM_SAMPLED", 120)
    made = torch.randint(0, 256, (400, *COLOR), dtype=torch.uint8)
    evaluator = evaluator_of(made[200:])
    evaluator.test, evaluator.settings.seed = Split(made[:200]), 5
    model = Darker(likelihood)
    trained = SimpleNamespace(module=model, encode=model.encode, decode=model.decode)
    state = torch.get_rng_state()
    result = decoder_noise.diagnose(trained, evaluator)
    assert torch.equal(torch.get_rng_state(), state), "the global random state does not change"
    x = to_float(made[:count])
    binary = likelihood == "bernoulli"
    marginal = decoder_noise.binary_marginal_nll if binary else decoder_noise.marginal_nll
    torch.manual_seed(5)
    sample = model.sample_pixels(model.encode(x[:120]))
    pair = [model.sample_pixels(model.encode(x[:10])) for _ in range(2)]
    unit = "binary_bits_per_dim" if binary else "bits_per_dim"
    bit = 12 * math.log(2)
    assert result.metrics == pytest.approx(
        {
            unit: float(x.flatten(1).sum(1).mean()) / bit,
            f"marginal_{unit}": float(marginal(evaluator.train.images, x).mean()) / bit,
            "sse_of_mean": float((x / 2).square().flatten(1).sum(1).mean()),
            "sse_of_sample": float((sample - x[:120]).square().flatten(1).sum(1).mean()),
        },
        rel=1e-5,
    )
    value = "black-and-white" if binary else "8-bit"
    assert f"{result.metrics[unit]:.3f} bits per {value} value" in result.summary
    (rows,) = figure_inputs(result, "samples")
    std = torch.tensor([1.0, 0.5, 0.5])[:, None, None].expand(
        len(x[:10]), *COLOR
    )  # of the largest, 0.2
    torch.testing.assert_close(rows, torch.stack([x[:10], x[:10] / 2, *pair, std]))


def test_a_decoder_without_noise_has_a_black_row_of_deviations():
    model = Darker("gaussian")
    model.decode_std = lambda z: torch.zeros(len(z), *COLOR)
    trained = SimpleNamespace(module=model, decode=model.decode)
    rows = decoder_noise.figure_rows(trained, torch.rand(2, *COLOR), torch.rand(2, 12))
    assert torch.equal(rows[-1], torch.zeros(2, *COLOR))


def test_does_not_apply_to_a_deterministic_decoder():
    assert not decoder_noise.applies(LinearAE(SHAPE))
