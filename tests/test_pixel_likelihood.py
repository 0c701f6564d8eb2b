"""Stochastic decoders: each likelihood sums or integrates to one, means are expectations."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Categorical, Normal

from latentlab.losses.pixels import PixelLikelihood, categorical_nll


def test_bernoulli_sums_to_one_over_all_binary_images():
    pixels = PixelLikelihood("bernoulli")
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    logits = torch.randn(1, 1, 2, 2, dtype=torch.float64).expand(16, 1, 2, 2)
    assert float((-pixels.nll(logits, images.view(16, 1, 2, 2))).exp().sum()) == pytest.approx(1)


def test_gaussian_integrates_to_one_and_has_its_mean():
    pixels = PixelLikelihood("gaussian", scale=0.3).double()
    logit = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64)

    def density(x):
        return math.exp(-float(pixels.nll(logit, torch.full_like(logit, x))))

    assert quad(density, -3, 4)[0] == pytest.approx(1)
    assert quad(lambda x: x * density(x), -3, 4)[0] == pytest.approx(float(pixels.mean(logit)))


def test_categorical_sums_to_one_over_all_grey_levels_and_has_its_mean():
    pixels = PixelLikelihood("categorical").double()
    outputs = torch.randn(1, pixels.outputs, 1, 2, dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64) / 255
    pairs = torch.cartesian_prod(levels, levels).view(-1, 1, 1, 2)
    p = (-pixels.nll(outputs.expand(len(pairs), -1, -1, -1), pairs)).exp().detach()
    assert float(p.sum()) == pytest.approx(1)
    mean = (p[:, None] * pairs.flatten(1)).sum(0)
    torch.testing.assert_close(pixels.mean(outputs).detach().flatten(), mean)


def test_categorical_is_the_one_of_torch_distributions_and_so_are_its_gradients():
    scores = torch.nn.Linear(5, 256).double()
    h = torch.randn(2, 3, 16, 16, 5, dtype=torch.float64, requires_grad=True)  # several parts
    x, weigh = torch.randint(256, (2, 3, 16, 16)), torch.tensor([0.3, -2.0], dtype=torch.float64)
    leaves = [h, *scores.parameters()]
    expected = -Categorical(logits=scores(h)).log_prob(x).sum((1, 2, 3))
    nll = categorical_nll(h, scores, x / 255)
    torch.testing.assert_close(nll, expected)
    wanted = torch.autograd.grad((weigh * expected).sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad((weigh * nll).sum(), leaves), wanted)


def test_categorical_holds_the_scores_of_a_few_values_only(monkeypatch):
    most, score = [], torch.nn.functional.linear

    def counted(*args):
        scores = score(*args)
        most.append(scores.numel())
        return scores

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    pixels = PixelLikelihood("categorical")
    outputs = torch.randn(4, pixels.outputs, 32, 32, requires_grad=True)
    pixels.nll(outputs, torch.rand(4, 1, 32, 32)).sum().backward()
    assert len(most) == 2 * 4
    assert max(most) == 256 * 1024


def test_categorical_scores_are_not_rounded_under_autocast():
    pixels, x = PixelLikelihood("categorical"), torch.rand(2, 1, 4, 4)
    outputs = torch.randn(2, pixels.outputs, 4, 4, requires_grad=True)
    wanted = pixels.nll(outputs, x)
    (slope,) = torch.autograd.grad(wanted.sum(), outputs)
    with torch.autocast("cpu", torch.bfloat16):
        got = pixels.nll(outputs, x)
        got.sum().backward()  # as a model with optimizers of its own does
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(outputs.grad, slope)


def test_gaussian_is_the_one_of_torch_distributions():
    pixels = PixelLikelihood("gaussian", scale=0.2)
    logits, x = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    expected = -Normal(logits.sigmoid(), 0.2).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(pixels.nll(logits, x), expected, rtol=1e-4, atol=1e-4)


def test_gaussian_outputs_of_half_precision_do_not_round_the_scale():
    pixels = PixelLikelihood("gaussian", scale=0.1)
    outputs, x = torch.randn(3, 1, 8, 8).bfloat16(), torch.rand(3, 1, 8, 8)
    expected = -Normal(outputs.double().sigmoid(), 0.1).log_prob(x.double()).sum((1, 2, 3))
    torch.testing.assert_close(pixels.nll(outputs, x).double(), expected, rtol=1e-4, atol=1e-3)


def test_the_mean_of_many_pixels_is_made_in_parts():
    pixels = PixelLikelihood("categorical")
    outputs, sizes = torch.randn(2, 3 * pixels.outputs, 60, 80), []
    pixels.scores.register_forward_hook(lambda _, inputs, scores: sizes.append(scores.numel()))
    with torch.inference_mode():
        got = pixels.mean(outputs)
    assert max(sizes) <= 2**21, "8 MiB of scores at a time"
    hidden = torch.nn.functional.gelu(outputs.view(2, 3, 8, 60, 80).permute(0, 1, 3, 4, 2))
    odds = Categorical(logits=hidden @ pixels.scores.weight.T + pixels.scores.bias).probs
    torch.testing.assert_close(got, (odds * torch.arange(256) / 255).sum(-1).detach())


def test_binary_observations_are_drawn_anew_with_the_grey_level_as_odds():
    pixels = PixelLikelihood("bernoulli", binary=True)
    x = torch.tensor([0.0, 0.2, 0.9, 1.0]).expand(20_000, 4)
    drawn = pixels.observe(x)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), x[0], atol=0.015, rtol=0)
    assert not torch.equal(drawn, pixels.observe(x))
    assert torch.equal(PixelLikelihood("bernoulli").observe(x), x)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kind": "poisson"}, "choose one of bernoulli, gaussian, categorical"),
        ({"kind": "gaussian", "scale": 0.0}, "must be > 0, got 0.0"),
        ({"kind": "bernoulli", "scale": 0.1}, "a bernoulli likelihood has none"),
        ({"kind": "gaussian", "binary": True}, "take likelihood: bernoulli"),
    ],
)
def test_impossible_settings_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        PixelLikelihood(**given)
