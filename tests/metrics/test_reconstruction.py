"""Reconstruction metrics, compared with numpy, torchmetrics and a scipy convolution."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from latentlab.metrics.reconstruction import (
    PSNR_CAP_DB,
    psnr_db,
    reconstruction_metrics,
    squared_error,
    ssim,
)
from latentlab.utils.errors import LatentlabError


def _pair(*shape, noise=0.1):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator)
    return x, (x + noise * torch.randn(shape, generator=generator)).clamp(0, 1)


def _ssim_by_convolution(x, y, size):
    """Wang et al. (2004) for one channel, with scipy's 2-D convolution."""
    line = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()

    def blur(m):
        return scipy.signal.convolve2d(m, window, mode="valid")

    mu_x, mu_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mu_x**2, blur(y * y) - mu_y**2
    cov = blur(x * y) - mu_x * mu_y
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mu_x * mu_y + c1) * (2 * cov + c2)
    return (top / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))).mean()


@pytest.mark.parametrize("shape", [(4, 1, 28, 28), (3, 3, 16, 21), (2, 1, 11, 30)])
def test_ssim_equals_torchmetrics(shape):
    x, y = (t.double() for t in _pair(*shape))
    _, full = structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)
    # torchmetrics also averages over windows on mirrored borders; the paper does not.
    inside = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim(x, y), inside, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(8, 8, 7), (9, 14, 9), (12, 3, 3), (5, 1, 1)]
)
def test_ssim_window_shrinks_to_the_largest_odd_size_that_fits(height, width, size):
    x, y = _pair(2, 1, height, width)
    expected = [
        _ssim_by_convolution(a[0].double().numpy(), b[0].double().numpy(), size)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y), expected, rtol=1e-10)


def test_ssim_closed_form_for_flat_images():
    a, b = 0.3, 0.7
    flat = torch.ones(1, 1, 20, 20, dtype=torch.float64)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert float(ssim(a * flat, b * flat)) == pytest.approx(expected, rel=1e-9)
    assert float(ssim(flat, flat)) == pytest.approx(1, abs=1e-12)


def test_metrics_equal_numpy_and_torchmetrics():
    x, y = _pair(7, 2, 12, 13)
    found = reconstruction_metrics([(x, y)])
    squares = np.square(x.double().numpy() - y.double().numpy())
    assert found["reconstruction_mse"] == pytest.approx(squares.mean(), rel=1e-12)
    assert found["reconstruction_sse"] == pytest.approx(squares.sum((1, 2, 3)).mean(), rel=1e-12)
    psnr = [
        float(peak_signal_noise_ratio(b.double(), a.double(), data_range=1.0))
        for a, b in zip(x, y, strict=True)
    ]
    assert found["psnr_db"] == pytest.approx(np.mean(psnr), rel=1e-6)
    assert found["ssim"] == pytest.approx(float(ssim(x, y).mean()), rel=1e-12)


def test_the_batch_size_does_not_matter():
    x, y = _pair(11, 1, 8, 8)
    whole = reconstruction_metrics([(x, y)])
    parts = zip(x.split(4), y.split(4), strict=True)
    assert reconstruction_metrics(parts) == pytest.approx(whole, rel=1e-12)


def test_psnr_is_a_mean_over_images_and_has_a_cap():
    x = torch.full((2, 1, 8, 8), 0.5)
    y = x.clone()
    y[1] += 0.25
    found = reconstruction_metrics([(x, y)])
    assert PSNR_CAP_DB == 100
    assert found["psnr_db"] == pytest.approx((100 - 20 * math.log10(0.25)) / 2, rel=1e-9)
    each = psnr_db(torch.tensor([0.0, 1e-12, 0.01, 1.0], dtype=torch.float64))
    torch.testing.assert_close(each, torch.tensor([100, 100, 20, 0.0], dtype=torch.float64))


def test_squared_error_is_the_sum_over_each_image():
    x, y = _pair(5, 2, 6, 7)
    expected = np.square(x.double().numpy() - y.double().numpy()).sum((1, 2, 3))
    np.testing.assert_allclose(squared_error(y, x), expected, rtol=1e-5)
    assert squared_error(y, x).dtype == torch.float32
    with pytest.raises(LatentlabError, match=r"\(5, 2, 6, 7\) and \(4, 2, 6, 7\)"):
        squared_error(y[:4], x)


def test_errors():
    x, y = _pair(3, 1, 8, 8)
    with pytest.raises(LatentlabError, match="no images to compare"):
        reconstruction_metrics([])
    with pytest.raises(LatentlabError, match="no images to compare"):
        reconstruction_metrics([(x[:0], y[:0])])
    with pytest.raises(LatentlabError, match=r"\(3, 1, 8, 8\) and \(3, 1, 8, 7\)\. Both must be"):
        reconstruction_metrics([(x, y[..., :7])])
    with pytest.raises(LatentlabError, match=r"\(1, 7, 7\) after \(1, 8, 8\)"):
        reconstruction_metrics([(x, y), (x[..., :7, :7], y[..., :7, :7])])
    with pytest.raises(LatentlabError, match="3 of 3 reconstructions are not finite"):
        reconstruction_metrics([(x, y * torch.nan)])
    with pytest.raises(
        LatentlabError, match=r"must be the same \(B, C, H, W\)\. Check the output size"
    ):
        ssim(x[0], y[0])
