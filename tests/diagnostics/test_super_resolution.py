"""Super-resolution of a perfect model, and the interpolation of the baselines."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diagnostics.stand_ins import Lookup, noise_evaluator
from latentlab.diagnostics import super_resolution
from latentlab.evaluation.results import write_result


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
    model.upsample = lambda x_small: torch.zeros(len(x_small), 1, 130, 130)
    warnings = super_resolution.diagnose(SimpleNamespace(module=model), evaluator).warnings
    assert warnings == ["no better than nearest-neighbour interpolation"]


def test_only_the_first_test_images_are_used(monkeypatch):
    evaluator = noise_evaluator()
    few = SimpleNamespace(**{**vars(evaluator), "test": evaluator.test.first(25)})
    expected = super_resolution.diagnose(SimpleNamespace(module=Lookup(few.test)), few)
    monkeypatch.setattr(super_resolution, "MAX_TEST_IMAGES", 25)
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
