"""Super-resolution of a perfect model, and the interpolation of the baselines."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diagnostics.stand_ins import Lookup, figure_inputs, noise_evaluator
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import super_resolution
from latentlab.evaluation.results import write_result


def repeated(x_small):
    return x_small.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_applies_to_models_that_downsample_and_upsample():
    assert super_resolution.applies(Lookup(noise_evaluator().test))
    assert not super_resolution.applies(nn.Linear(1, 1))


def test_rows_are_measured_on_the_test_split(tmp_path):
    evaluator = noise_evaluator()
    result = super_resolution.diagnose(SimpleNamespace(module=Lookup(evaluator.test)), evaluator)
    assert result.title == "Super-resolution 4×4 → 8×8"
    assert result.table["model"]["PSNR dB"] == 100
    assert result.metrics["linear_psnr_db"] > result.metrics["bicubic_psnr_db"]
    write_result(result, tmp_path / "super_resolution")
    assert (tmp_path / "super_resolution" / "upsampled.png").stat().st_size > 0


def test_large_images_have_no_linear_row(tmp_path):
    evaluator = noise_evaluator(count=12, side=130, train=4)  # small images of 65×65 pixels
    model = Lookup(evaluator.test)
    result = super_resolution.diagnose(SimpleNamespace(module=model), evaluator)
    assert list(result.table) == ["nearest", "bicubic", "model"]
    assert "linear_psnr_db" not in result.metrics
    best = max(result.table[mode]["PSNR dB"] for mode in ("nearest", "bicubic"))
    assert f"{100 - best:+.2f} dB relative to " in result.summary
    assert not result.warnings
    result.figures[0].save(tmp_path / "upsampled.png")
    assert "needs at most 4096 values per image" in result.summary
    x, nearest = model.images, repeated(model.downsample(model.images))
    for part, expected in ((0.0, ["no better than nearest-neighbour interpolation"]), (0.05, [])):
        model.upsample = lambda _, x_hat=nearest + part * (x - nearest): x_hat
        again = super_resolution.diagnose(SimpleNamespace(module=model), evaluator)
        assert again.warnings == expected


@pytest.mark.parametrize("count", [1, 25])
def test_only_the_first_test_images_are_used(monkeypatch, count):
    evaluator = noise_evaluator()
    few = SimpleNamespace(**{**vars(evaluator), "test": evaluator.test.first(count)})
    expected = super_resolution.diagnose(SimpleNamespace(module=Lookup(few.test)), few)
    monkeypatch.setattr(super_resolution, "MAX_TEST_IMAGES", count)
    found = super_resolution.diagnose(SimpleNamespace(module=Lookup(evaluator.test)), evaluator)
    assert (found.table, found.summary) == (expected.table, expected.summary)


@pytest.mark.parametrize("mode", ["nearest", "bicubic"])
def test_pixel_centers_are_aligned(mode):
    """A symmetric image stays symmetric, and a constant image stays constant."""
    x_small, like = torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)
    x_small = (x_small + x_small.flip(3)) / 2
    large = super_resolution.interpolate(x_small, like, mode)
    torch.testing.assert_close(large, large.flip(3))
    constant = super_resolution.interpolate(torch.full((1, 1, 4, 4), 0.3), like, mode)
    torch.testing.assert_close(constant, torch.full_like(like, 0.3))


def keys(distance, a=-0.75):
    """The cubic kernel of Keys 1981."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def test_bicubic_interpolation_is_that_of_keys_limited_to_0_and_1():
    """Along one axis. At the ends the last pixel is repeated; an edge overshoots."""
    row = [0.0, 0.0, 1.0, 1.0, 0.2, 0.9]
    expected = []
    for i in range(12):
        center = (i + 0.5) / 2 - 0.5
        near = range(int(center // 1) - 1, int(center // 1) + 3)
        value = sum(keys(center - j) * row[min(max(j, 0), 5)] for j in near)
        expected.append(min(max(value, 0.0), 1.0))
    x_small = torch.tensor(row).expand(1, 1, 6, 6)
    large = super_resolution.interpolate(x_small, torch.zeros(1, 1, 12, 12), "bicubic")
    assert large[0, 0, 5].tolist() == pytest.approx(expected, abs=1e-6)
    assert min(expected) == 0
    assert max(expected) == 1
    nearest = super_resolution.interpolate(x_small, torch.zeros(1, 1, 12, 12), "nearest")
    assert nearest[0, 0, 5].tolist() == torch.tensor(row).repeat_interleave(2).tolist()


@pytest.mark.parametrize(("most", "rows"), [(6, 4), (5, 3)])
def test_the_linear_map_of_small_images_is_fitted_to_training_images(monkeypatch, most, rows):
    """Small images of 2×3 pixels: the linear map has 6 inputs, if it may have so many."""
    monkeypatch.setattr(super_resolution, "MAX_INPUTS", most)
    g = torch.Generator().manual_seed(0)
    train, test = (
        Split(torch.randint(0, 256, (n, 1, 4, 6), dtype=torch.uint8, generator=g)) for n in (90, 12)
    )
    monkeypatch.setattr(super_resolution, "MAX_FITTED", 60)
    model = Lookup(test)
    result = super_resolution.diagnose(
        SimpleNamespace(module=model), SimpleNamespace(train=train, test=test)
    )
    assert result.title == "Super-resolution 2×3 → 4×6"
    (images,) = figure_inputs(result, "upsampled")
    assert images.shape == (1 + rows, 10, 1, 4, 6)
    x, seen = to_float(test.images), to_float(train.images[:60])
    assert torch.equal(images[0], x[:10])
    assert torch.equal(images[-1], x[:10])
    assert torch.equal(images[1], repeated(model.downsample(x)[:10]))
    assert result.figures[0].caption == "Original, " + ", ".join(result.table)
    names = ", ".join(super_resolution.METHODS[name] for name in result.table)
    assert f"Rows of the figure: the original, {names}." in result.summary
    if rows == 4:
        inputs = torch.cat([model.downsample(seen).flatten(1), torch.ones(60, 1)], 1).double()
        weight = torch.linalg.lstsq(inputs, seen.flatten(1).double()).solution
        z = torch.cat([model.downsample(x).flatten(1), torch.ones(12, 1)], 1).double()
        expected = (z @ weight).clamp(0, 1).view(12, 1, 4, 6)
        torch.testing.assert_close(images[3], expected[:10].float(), atol=1e-4, rtol=0)
        error = (expected - x).square().flatten(1).mean(1)
        assert result.metrics["linear_psnr_db"] == pytest.approx(
            float(-10 * error.log10().mean()), abs=1e-2
        )
    assert ("linear" in result.table) == (rows == 4)
    assert ("A linear map needs at most 5 values" in result.summary) == (rows == 3)


def test_baselines_are_limited_to_the_range_of_an_image():
    x_small = torch.rand(2, 3, 2, 2)
    linear = SimpleNamespace(predict=lambda z: torch.linspace(-1, 2, 96).view(2, 3, 4, 4))
    model = SimpleNamespace(upsample=lambda z: torch.zeros(len(z), 3, 4, 4))
    found = super_resolution.upsample_all(model, x_small, torch.zeros(2, 3, 4, 4), linear)
    expected = torch.linspace(-1, 2, 96).clip(0, 1)
    assert torch.equal(found["linear"].flatten(), expected)
    assert all(x_hat.shape == (2, 3, 4, 4) for x_hat in found.values())


def test_many_test_images_are_scored_in_pairs():
    """More than one batch of 500. Each image has its own error."""
    x = torch.full((501, 1, 8, 8), 0.5)
    x_hat = x + torch.linspace(0.4, 0.1, 501)[:, None, None, None]
    expected = -20 * torch.linspace(0.4, 0.1, 501).double().log10().mean()
    assert super_resolution._scores(x, x_hat)["PSNR dB"] == pytest.approx(float(expected), rel=1e-5)
