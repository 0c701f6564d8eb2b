"""Decoder noise: likelihoods compared with torch.distributions, errors with variances."""

from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, Categorical

from diagnostics.stand_ins import evaluator_of, save_figures
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


def test_marginal_is_the_histogram_of_each_pixel():
    train, x = images(50, 3) // 64 * 64, to_float(images(4, 4) // 64 * 64)
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


def test_does_not_apply_to_a_deterministic_decoder():
    assert not decoder_noise.applies(LinearAE(SHAPE))
