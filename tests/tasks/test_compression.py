import math

import pytest
import torch
from scipy import stats

from latentlab.contracts import to_float
from latentlab.tasks.compression import (
    Compression,
    Point,
    RateAutoencoder,
    code_point,
    jpeg_point,
    mean_psnr_db,
    psnr_at_size,
)
from latentlab.utils.errors import LatentlabError

TASK = Compression(
    num_images=100, step_sizes=(0.3, 1.0), rate_weights=(0.05,), hidden=32, train_steps=150
)


@pytest.fixture(scope="module")
def result(context):
    return TASK.run(context)


def test_rate_is_that_of_a_rounded_logistic_code():
    net = RateAutoencoder(4, hidden=8, latent_dim=2, rate_weight=0.1)
    with torch.no_grad():
        net.mean.copy_(torch.tensor([0.3, -1.0]))
        net.log_scale.copy_(torch.tensor([0.0, 0.7]))
    z = torch.tensor([[0.0, 1.0], [2.0, -3.0]])
    logistic = stats.logistic(net.mean.detach().numpy(), net.log_scale.detach().exp().numpy())
    interval = logistic.cdf(z.numpy() + 0.5) - logistic.cdf(z.numpy() - 0.5)
    expected = -torch.from_numpy(interval).log2().sum(1)
    torch.testing.assert_close(net.rate_bits(z).detach().double(), expected, atol=1e-5, rtol=0)


def test_smaller_steps_give_more_bytes_and_a_higher_psnr(result, context):
    rows = [row for name, row in result.table.items() if name.startswith("pca, ")]
    sizes = [float(n.split()[1]) for n in result.table if n.startswith("pca, ")]
    assert sizes[0] > sizes[1]
    assert rows[0]["PSNR dB"] > rows[1]["PSNR dB"]
    assert any(name.startswith("trained for rate, ") for name in result.table)


def test_psnr_is_that_of_the_decoded_file(context):
    test = context.evaluator.test.first(50)
    coder = context.trained.module
    z = coder.encode(to_float(test.images))
    steps = torch.full((16,), 0.5)
    size, psnr, _ = code_point(z, steps, coder.decode, test)
    mean = z.mean(0)
    x_hat = coder.decode(mean + ((z - mean) / steps).round() * steps)
    mse = (x_hat - to_float(test.images)).square().flatten(1).mean(1)
    assert psnr == pytest.approx(float(-10 * mse.log10().mean()), abs=1e-3)
    assert 16 / 8 < size < 64


@pytest.mark.parametrize("count", [1, 9, 10])
def test_jpeg_images_are_decoded_in_order(context, count):
    test = context.evaluator.test.first(count)
    size, psnr, x_hat = jpeg_point(test, 95)
    assert x_hat.shape == (count, 1, 8, 8)
    assert psnr == pytest.approx(mean_psnr_db(x_hat, test), abs=1e-6)
    assert psnr > 35
    assert size > jpeg_point(test, 5)[0]


def test_lossless_files_are_named_and_measured(result):
    assert result.metrics["png_bytes_per_image"] > 0
    assert f"{result.metrics['zlib_bytes_per_image']:.0f} (zlib)" in result.summary


def test_curves_are_interpolated_only_between_their_points():
    points = [Point(4.0, 10.0, torch.empty(0)), Point(16.0, 20.0, torch.empty(0))]
    assert psnr_at_size(points, 8.0) == pytest.approx(15.0)
    assert math.isnan(psnr_at_size(points, 3.9))
    assert math.isnan(psnr_at_size(points, 17.0))


def test_figures_are_saved(result, save_figures):
    assert set(save_figures(result)) == {"rate_distortion", "decoded"}


def test_impossible_settings_are_refused(decoder_only):
    with pytest.raises(
        LatentlabError, match=r"step_sizes is \(0.0,\): give one or more values > 0"
    ):
        Compression(step_sizes=(0.0,))
    with pytest.raises(
        LatentlabError, match=r"rate_weights is \(-1.0,\): give one or more values ≥ 0"
    ):
        Compression(rate_weights=(-1.0,))
    with pytest.raises(LatentlabError, match="has no encoder"):
        TASK.run(decoder_only)
