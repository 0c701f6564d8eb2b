"""Denoising: the baselines compared with scipy and closed forms."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.integrate import dblquad
from scipy.ndimage import median_filter
from scipy.stats import norm
from torch import nn

from diagnostics.stand_ins import Lookup, figure_inputs, noise_evaluator
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import denoising
from latentlab.evaluation.results import write_result
from latentlab.transforms.corruption import gaussian


def test_applies_to_models_that_corrupt_and_denoise():
    assert denoising.applies(Lookup(noise_evaluator().test))
    assert not denoising.applies(nn.Linear(1, 1))


def test_all_rows_are_measured_on_one_corrupted_test_split(tmp_path):
    evaluator = noise_evaluator()
    result = denoising.diagnose(SimpleNamespace(module=Lookup(evaluator.test)), evaluator)
    assert result.table["corrupted"]["PSNR dB"] == pytest.approx(clipped_psnr_db(0.2), abs=0.2)
    assert result.table["model"]["PSNR dB"] == 100
    assert result.table["model"]["SSIM"] == pytest.approx(1)
    assert result.metrics["median_psnr_db"] == max(
        result.table[f"median {size}"]["PSNR dB"] for size in ("3×3", "5×5")
    )
    assert not result.warnings
    write_result(result, tmp_path / "denoising")
    assert (tmp_path / "denoising" / "denoised.png").stat().st_size > 0


def clipped_psnr_db(sigma):
    """Of a uniform pixel x and x + σ ε, clipped to [0, 1] as every image is shown."""

    def error(eps, x):
        return (min(max(x + sigma * eps, 0), 1) - x) ** 2 * norm.pdf(eps)

    return -10 * math.log10(dblquad(error, 0, 1, -8, 8)[0])


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_no_row_is_scored_outside_of_the_range_of_an_image(sigma):
    """Noise that leaves [0, 1] does not make "doing nothing" worse than it looks."""
    evaluator = noise_evaluator()
    model = Lookup(evaluator.test)
    model.corrupt = lambda x, generator=None: gaussian(x, sigma, generator)
    model.denoise = lambda x_tilde: x_tilde
    table = denoising.diagnose(SimpleNamespace(module=model), evaluator).table
    assert table["corrupted"] == table["model"]
    assert table["corrupted"]["PSNR dB"] == pytest.approx(clipped_psnr_db(sigma), abs=0.2)


def test_a_model_that_returns_its_input_gives_a_warning():
    evaluator = noise_evaluator()
    model = Lookup(evaluator.test)
    model.denoise = lambda x_tilde: x_tilde
    result = denoising.diagnose(SimpleNamespace(module=model), evaluator)
    assert result.warnings == ["no better than a linear map"]


def test_large_images_have_no_linear_row(tmp_path):
    """65×65 = 4225 pixels of noise. Medians make it worse: the corrupted image is the baseline."""
    evaluator = noise_evaluator(count=12, side=65, train=4)
    result = denoising.diagnose(SimpleNamespace(module=Lookup(evaluator.test)), evaluator)
    assert list(result.table) == ["corrupted", "median 3×3", "median 5×5", "model"]
    assert "linear_psnr_db" not in result.metrics
    assert "at most 4096 values per image" in result.summary
    gain = 100 - result.table["corrupted"]["PSNR dB"]
    assert f"{gain:+.2f} dB relative to the corrupted image" in result.summary
    assert not result.warnings
    result.figures[0].save(tmp_path / "denoised.png")
    black = Lookup(evaluator.test)
    black.denoise = torch.zeros_like
    worse = denoising.diagnose(SimpleNamespace(module=black), evaluator)
    assert worse.warnings == ["no better than the corrupted image"]


@pytest.mark.parametrize("count", [1, 25])
def test_only_the_first_test_images_are_used(monkeypatch, count):
    evaluator = noise_evaluator()
    few = SimpleNamespace(**{**vars(evaluator), "test": evaluator.test.first(count)})
    expected = denoising.diagnose(SimpleNamespace(module=Lookup(few.test)), few)
    monkeypatch.setattr(denoising, "MAX_TEST_IMAGES", count)
    found = denoising.diagnose(SimpleNamespace(module=Lookup(evaluator.test)), evaluator)
    assert (found.table, found.summary) == (expected.table, expected.summary)


@pytest.mark.parametrize("size", [3, 5])
def test_median_filter_equals_that_of_scipy(size):
    x = torch.rand(3, 2, 9, 8)
    expected = median_filter(x.numpy(), size=(1, 1, size, size), mode="mirror")
    assert torch.equal(denoising.median_filter(x, size), torch.from_numpy(expected))


def test_linear_denoiser_of_gaussian_images_is_the_wiener_filter():
    """x ~ N(m, C): the least error is tr(C − C (C + σ² I)⁻¹ C); no estimator is better."""
    g = torch.Generator().manual_seed(0)
    root = 0.05 * torch.randn(16, 16, generator=g, dtype=torch.float64)
    c = root @ root.T
    x = 0.5 + torch.randn(40_000, 16, generator=g, dtype=torch.float64) @ root.T
    images = Split((255 * x).round().clamp(0, 255).to(torch.uint8).view(-1, 1, 4, 4))
    model = Lookup(images)
    linear = denoising.fit_linear(model, images.first(20_000), g)
    test = to_float(images.images[20_000:])
    error = (linear.predict(model.corrupt(test, g)) - test).square().sum((1, 2, 3)).mean()
    least = torch.trace(c - c @ torch.linalg.inv(c + 0.04 * torch.eye(16)) @ c)
    assert error.item() == pytest.approx(least.item(), rel=0.03)


def test_the_figure_shows_the_images_that_the_seed_corrupts(monkeypatch):
    monkeypatch.setattr(denoising, "MAX_INPUTS", 0)  # no linear map, which would use the seed too
    evaluator = noise_evaluator(train=4)
    evaluator.settings.seed = 3
    model = Lookup(evaluator.test)
    result = denoising.diagnose(SimpleNamespace(module=model), evaluator)
    (images,) = figure_inputs(result, "denoised")
    x = to_float(evaluator.test.images)
    x_tilde = gaussian(x, 0.2, torch.Generator().manual_seed(3))
    assert torch.equal(images[0], x[:10])
    assert torch.equal(images[1], x_tilde[:10].clamp(0, 1))
    assert torch.equal(images[-1], x[:10])
    size = max((3, 5), key=lambda size: result.table[f"median {size}×{size}"]["PSNR dB"])
    median = median_filter(x_tilde.numpy(), size=(1, 1, size, size), mode="mirror")
    assert torch.equal(images[2], torch.from_numpy(median)[:10].clamp(0, 1))
    assert result.figures[0].caption == f"Original, corrupted, median {size}×{size}, model"
    names = f"a {size}×{size} median, the model"
    assert f"Rows of the figure: the original, the corrupted image, {names}." in result.summary


def test_baselines_are_limited_to_the_range_of_an_image():
    x_tilde = torch.linspace(-1, 2, 96).view(1, 6, 4, 4).repeat(1, 1, 2, 2)
    linear = SimpleNamespace(predict=lambda x: x)
    found = denoising.denoise_all(SimpleNamespace(denoise=lambda x: x), x_tilde, linear)
    assert list(found) == ["corrupted", "median 3×3", "median 5×5", "linear", "model"]
    for x_hat in found.values():
        assert x_hat.shape == x_tilde.shape
        assert (float(x_hat.min()), float(x_hat.max())) == (0, 1)


@pytest.mark.parametrize(("count", "passes"), [(7, 4), (10, 3), (40, 1)])
def test_few_training_images_are_corrupted_several_times(monkeypatch, count, passes):
    """As often as makes about NUM_FITTED images, here 30; each time anew."""
    monkeypatch.setattr(denoising, "NUM_FITTED", 30)
    seen = []

    def corrupt(x, generator):
        seen.append(x + torch.rand(x.shape, generator=generator))
        return seen[-1]

    train = noise_evaluator(train=count).train
    denoising.fit_linear(SimpleNamespace(corrupt=corrupt), train, torch.Generator().manual_seed(0))
    assert len(seen) == passes
    assert all(len(x) == count for x in seen)
    assert len({float(x.sum()) for x in seen}) == passes


def test_many_test_images_are_scored_in_pairs():
    """More than one batch of 500. Each image has its own error."""
    x = torch.full((501, 1, 8, 8), 0.5)
    x_hat = x + torch.linspace(0.4, 0.1, 501)[:, None, None, None]
    expected = -20 * torch.linspace(0.4, 0.1, 501).double().log10().mean()
    assert denoising._scores(x, x_hat)["PSNR dB"] == pytest.approx(float(expected), rel=1e-5)
