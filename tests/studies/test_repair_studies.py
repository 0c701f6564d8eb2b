"""Denoising and super-resolution studies: their baselines against closed forms and scipy."""

from types import SimpleNamespace

import pytest
import torch
from scipy.ndimage import median_filter
from torch import nn

from latentlab.contracts import Split, to_float
from latentlab.corruption import box_downsample, gaussian
from latentlab.findings import write_finding
from latentlab.studies import denoising, superresolution


class Oracle(nn.Module):
    """Repairs by looking the answer up; `worse` repairs by giving back what came."""

    scale = 2

    def __init__(self, test, worse=False):
        super().__init__()
        self.answer, self.worse, self.place = to_float(test.images), worse, 0

    def corrupt(self, x, generator=None):
        return gaussian(x, 0.2, generator)

    def denoise(self, x_tilde):
        self.place += len(x_tilde)
        return x_tilde if self.worse else self.answer[self.place - len(x_tilde) : self.place]

    def shrink(self, x):
        return box_downsample(x, 2)

    def enlarge(self, small):
        self.place += len(small)
        return self.answer[self.place - len(small) : self.place]


def yard_of(count=60, side=8, train=4000):
    g = torch.Generator().manual_seed(0)
    images = [torch.rand(n, 1, side, side, generator=g) for n in (train, count)]
    train, test = (Split((255 * x).round().to(torch.uint8)) for x in images)
    return SimpleNamespace(train=train, test=test, settings=SimpleNamespace(seed=0))


def test_denoising_applies_to_what_spoils_and_repairs():
    yard = yard_of()
    assert denoising.applies(Oracle(yard.test))
    assert not denoising.applies(nn.Linear(1, 1))
    assert superresolution.applies(Oracle(yard.test))
    assert not superresolution.applies(nn.Linear(1, 1))


def test_denoising_rows_are_measured_on_one_spoilt_test_split(tmp_path):
    yard = yard_of()
    finding = denoising.study(SimpleNamespace(module=Oracle(yard.test)), yard)
    assert finding.table["noisy"]["PSNR dB"] == pytest.approx(13.98, abs=0.2)  # −20 log₁₀ 0.2
    assert finding.table["model"]["PSNR dB"] == 100
    assert finding.table["model"]["SSIM"] == pytest.approx(1)
    assert finding.numbers["median_psnr_db"] == max(
        finding.table[f"median {side}"]["PSNR dB"] for side in ("3×3", "5×5")
    )
    assert not finding.flags
    write_finding(finding, tmp_path / "denoising")
    assert (tmp_path / "denoising" / "denoised.png").stat().st_size > 0


def test_denoising_says_when_a_model_does_nothing():
    yard = yard_of()
    finding = denoising.study(SimpleNamespace(module=Oracle(yard.test, worse=True)), yard)
    assert finding.flags == ["denoises no better than a linear map"]


def test_denoising_of_large_images_does_without_the_linear_row(tmp_path):
    """65×65 = 4225 pixels of noise: no median repairs these, so doing nothing is the rival."""
    yard = yard_of(count=12, side=65, train=4)
    finding = denoising.study(SimpleNamespace(module=Oracle(yard.test)), yard)
    assert list(finding.table) == ["noisy", "median 3×3", "median 5×5", "model"]
    assert "linear_psnr_db" not in finding.numbers
    assert "above 4096 numbers an image" in finding.text
    gain = 100 - finding.table["noisy"]["PSNR dB"]
    assert f"{gain:+.2f} dB from doing nothing" in finding.text
    assert not finding.flags
    finding.pictures[0].draw(tmp_path / "denoised.png")
    blank = Oracle(yard.test)
    blank.denoise = torch.zeros_like
    worse = denoising.study(SimpleNamespace(module=blank), yard)
    assert worse.flags == ["denoises no better than doing nothing"]


def test_superresolution_of_large_images_does_without_the_linear_row(tmp_path):
    yard = yard_of(count=12, side=130, train=4)  # 65×65 small pixels
    oracle = Oracle(yard.test)
    finding = superresolution.study(SimpleNamespace(module=oracle), yard)
    assert list(finding.table) == ["nearest", "bicubic", "model"]
    assert "linear_psnr_db" not in finding.numbers
    best = max(finding.table[mode]["PSNR dB"] for mode in ("nearest", "bicubic"))
    assert f"{100 - best:+.2f} dB from " in finding.text
    assert not finding.flags
    finding.pictures[0].draw(tmp_path / "enlarged.png")
    oracle.enlarge = lambda small: torch.zeros(len(small), 1, 130, 130)
    flags = superresolution.study(SimpleNamespace(module=oracle), yard).flags
    assert flags == ["enlarges no better than repeated pixels"]


@pytest.mark.parametrize("study", [denoising, superresolution])
def test_no_more_than_the_first_test_images_are_held(study, monkeypatch):
    yard = yard_of()
    few = SimpleNamespace(**{**vars(yard), "test": yard.test.first(25)})
    expected = study.study(SimpleNamespace(module=Oracle(few.test)), few)
    monkeypatch.setattr(study, "MOST_TEST_IMAGES", 25)
    found = study.study(SimpleNamespace(module=Oracle(yard.test)), yard)
    assert (found.table, found.text) == (expected.table, expected.text)


@pytest.mark.parametrize("side", [3, 5])
def test_the_median_filter_is_scipys(side):
    x = torch.rand(3, 2, 9, 8)
    expected = median_filter(x.numpy(), size=(1, 1, side, side), mode="mirror")
    assert torch.equal(denoising.median(x, side), torch.from_numpy(expected))


def test_the_linear_repair_of_gaussian_images_is_wieners():
    """x ~ N(m, C): the least error is tr(C − C (C + σ² I)⁻¹ C), which no estimate passes."""
    g = torch.Generator().manual_seed(0)
    root = 0.05 * torch.randn(16, 16, generator=g, dtype=torch.float64)
    c = root @ root.T
    x = 0.5 + torch.randn(40_000, 16, generator=g, dtype=torch.float64) @ root.T
    images = Split((255 * x).round().clamp(0, 255).to(torch.uint8).view(-1, 1, 4, 4))
    model = Oracle(images)
    linear = denoising.fit_linear(model, images.first(20_000), g)
    held_out = to_float(images.images[20_000:])
    error = (linear.predict(model.corrupt(held_out, g)) - held_out).square().sum((1, 2, 3)).mean()
    least = torch.trace(c - c @ torch.linalg.inv(c + 0.04 * torch.eye(16)) @ c)
    assert error.item() == pytest.approx(least.item(), rel=0.03)


def test_superresolution_rows_are_measured_on_the_test_split(tmp_path):
    yard = yard_of()
    finding = superresolution.study(SimpleNamespace(module=Oracle(yard.test)), yard)
    assert finding.title == "Super-resolution 4×4 → 8×8"
    assert finding.table["model"]["PSNR dB"] == 100
    assert finding.numbers["linear_psnr_db"] > finding.numbers["bicubic_psnr_db"]
    write_finding(finding, tmp_path / "superresolution")
    assert (tmp_path / "superresolution" / "enlarged.png").stat().st_size > 0


@pytest.mark.parametrize("mode", ["nearest", "bicubic"])
def test_pixel_centres_are_aligned(mode):
    """An image that is its own mirror image stays so, whatever the rule; a flat one stays flat."""
    small, like = torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)
    small = (small + small.flip(3)) / 2
    large = superresolution.interpolate(small, like, mode)
    torch.testing.assert_close(large, large.flip(3))
    flat = superresolution.interpolate(torch.full((1, 1, 4, 4), 0.3), like, mode)
    torch.testing.assert_close(flat, torch.full_like(like, 0.3))
