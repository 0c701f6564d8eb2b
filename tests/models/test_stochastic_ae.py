"""Stochastic decoder: unbiased scores of some pixels, and one likelihood for all methods."""

import math

import pytest
import torch

from latentlab.contracts import StochasticDecoder
from latentlab.losses.discretized_gaussian import to_levels
from latentlab.models.stochastic_ae import StochasticAE

SHAPE = (1, 4, 5)
CASES = {
    "fixed": {"likelihood": "discretized_gaussian", "scale": 0.1},
    "learned": {"likelihood": "discretized_gaussian"},
    "pixel": {"likelihood": "discretized_gaussian", "scale": "pixel"},
    "bernoulli": {"likelihood": "bernoulli"},
    "categorical": {"likelihood": "categorical"},
}


def build(case, shape=SHAPE, **settings):
    torch.manual_seed(0)
    model = StochasticAE(shape, hidden=[12], latent_dim=3, **CASES[case], **settings)
    if case == "categorical":
        torch.nn.init.normal_(model.likelihood.pixel_bias)
    return model.requires_grad_(False)


@pytest.mark.parametrize("case", CASES)
def test_every_value_of_a_colour_image_has_its_place(case):
    model, x = build(case, (3, 4, 5)), torch.rand(2, 3, 4, 5)
    assert isinstance(model, StochasticDecoder)
    z = model.encode(x)
    outputs = model.decoder(z).unflatten(1, (60, -1))  # the outputs of one value are neighbours
    for image in (model.decode(z), model.decode_std(z), model.sample_pixels(z)):
        assert image.shape == x.shape
    one = outputs[:, 37].view(2, -1, 1, 1)  # colour 1, row 3, column 2
    expected = model.likelihood.nll(one, x[:, 1:2, 3:4, 2:3], torch.tensor([37]))
    torch.testing.assert_close(model.nll(x, z, torch.tensor([37])) / 60, expected)
    if case != "categorical":
        torch.testing.assert_close(model.decode(z)[:, 1, 3, 2], model.likelihood.mean(one).view(2))


@pytest.mark.parametrize("case", CASES)
def test_scoring_a_fraction_of_the_pixels_is_unbiased(case):
    model, x = build(case), torch.rand(3, *SHAPE)
    z = model.encode(x)
    single = torch.stack([model.nll(x, z, torch.tensor([pixel])) for pixel in range(20)])
    torch.testing.assert_close(single.mean(0), model.nll(x, z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.nll(x, z, torch.arange(20)), model.nll(x, z))


def test_a_training_step_scores_the_requested_fraction_and_validation_all():
    model = build("categorical", pixel_fraction=0.25)
    scored = []
    model.nll = lambda x, z, pixels: scored.append(pixels) or torch.zeros(len(x))
    x = torch.rand(2, *SHAPE)
    model.validation_step((x, None), 0)
    assert scored == [None]
    for step in range(40):
        model.training_step((x, None), step)
    assert [len(set(pixels.tolist())) for pixels in scored[1:]] == [5] * 40
    assert len(torch.cat(scored[1:]).unique()) == 20, "other pixels in each step"


def test_with_a_fixed_scale_the_gaussian_loss_is_the_squared_error():
    """σ is far above a level: −log p = SSE / 2σ² + const."""
    model = StochasticAE(SHAPE, likelihood="discretized_gaussian", scale=0.5, latent_dim=3)
    model = model.double().requires_grad_(False)
    x = (to_levels(torch.rand(4, *SHAPE)).double() / 255).clamp(1 / 255, 254 / 255)
    z = model.encode(x)  # the outer levels, which hold the tails, do not occur in x
    sse = (model.decoder(z) - x.flatten(1)).square().sum(1)
    constant = 20 * (math.log(0.5 * 255) + 0.5 * math.log(2 * math.pi))
    assert torch.allclose(model.nll(x, z), sse / (2 * 0.25) + constant, atol=1e-3)


@pytest.mark.parametrize(
    ("case", "name"), [("pixel", "bits_per_dim"), ("bernoulli", "binary_bits_per_dim")]
)
def test_the_loss_in_bits_is_named_after_what_it_measures(case, name):
    model = build(case)
    terms = model.validation_step((torch.rand(3, *SHAPE), None), 0)
    assert set(terms) == {"loss", "nll_nats", name}
    assert float(terms[name]) == pytest.approx(float(terms["nll_nats"]) / (20 * math.log(2)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"likelihood": "discretized_gaussian", "scale": -0.1}, r"scale is -0\.1"),
        ({"likelihood": "bernoulli", "scale": 0.1}, "a bernoulli likelihood has none"),
        (
            {"likelihood": "categorical", "pixel_fraction": 0.0},
            r"pixel_fraction is 0\.0: .* \(0, 1\]",
        ),
        ({"likelihood": "categorical", "pixel_fraction": 1.1}, r"pixel_fraction is 1\.1"),
        ({"likelihood": "categorical", "pixel_fraction": -0.1}, r"pixel_fraction is -0\.1"),
    ],
)
def test_invalid_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        StochasticAE(SHAPE, **settings)


def test_at_least_one_pixel_is_scored():
    assert build("bernoulli", pixel_fraction=1e-6).num_scored == 1


@pytest.mark.parametrize(
    ("shape", "latent_dim"),
    [((1, 28, 28), 32), ((1, 4, 5), 4), ((3, 3, 3), 5), ((1, 2, 2), 1), ((3, 8, 8), 32)],
)
def test_the_default_code_has_32_units_but_at_most_a_fifth_of_the_values(shape, latent_dim):
    assert StochasticAE(shape, likelihood="bernoulli").latent_dim == latent_dim
