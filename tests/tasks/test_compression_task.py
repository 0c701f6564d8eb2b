import math

import pytest
import torch
from scipy import stats

from latentlab.contracts import LatentlabError, to_float
from latentlab.tasks.compression import (
    Compression,
    RateAutoencoder,
    at_bytes,
    by_jpeg,
    point,
    psnr_db,
)

TASK = Compression(images=100, steps=(0.3, 1.0), prices=(0.05,), hidden=32, train_steps=150)


@pytest.fixture(scope="module")
def finding(context):
    return TASK.run(context)


def test_the_rate_is_that_of_a_rounded_logistic_code():
    net = RateAutoencoder(4, hidden=8, latent_dim=2, price=0.1)
    with torch.no_grad():
        net.place.copy_(torch.tensor([0.3, -1.0]))
        net.log_scale.copy_(torch.tensor([0.0, 0.7]))
    z = torch.tensor([[0.0, 1.0], [2.0, -3.0]])
    law = stats.logistic(net.place.detach().numpy(), net.log_scale.detach().exp().numpy())
    interval = law.cdf(z.numpy() + 0.5) - law.cdf(z.numpy() - 0.5)
    expected = -torch.from_numpy(interval).log2().sum(1)
    torch.testing.assert_close(net.bits(z).detach().double(), expected, atol=1e-5, rtol=0)


def test_finer_steps_cost_bytes_and_gain_decibels(finding, context):
    rows = [row for name, row in finding.table.items() if name.startswith("pca, ")]
    sizes = [float(n.split()[1]) for n in finding.table if n.startswith("pca, ")]
    assert sizes[0] > sizes[1]
    assert rows[0]["PSNR dB"] > rows[1]["PSNR dB"]
    assert any(name.startswith("trained for rate, ") for name in finding.table)


def test_the_decibels_are_of_the_images_that_come_out_of_the_file(context):
    test = context.yard.test.first(50)
    coder = context.trained.module
    z = coder.encode(to_float(test.images))
    steps = torch.full((16,), 0.5)
    size, psnr, _ = point(z, steps, coder.decode, test)
    mean = z.mean(0)
    x_hat = coder.decode(mean + ((z - mean) / steps).round() * steps)
    mse = (x_hat - to_float(test.images)).square().flatten(1).mean(1)
    assert psnr == pytest.approx(float(-10 * mse.log10().mean()), abs=1e-3)
    assert 16 / 8 < size < 64


@pytest.mark.parametrize("count", [1, 9, 10])
def test_a_jpeg_sheet_gives_back_its_images_in_order(context, count):
    test = context.yard.test.first(count)
    size, psnr, x_hat = by_jpeg(test, 95)
    assert x_hat.shape == (count, 1, 8, 8)
    assert psnr == pytest.approx(psnr_db(x_hat, test), abs=1e-6)
    assert psnr > 35
    assert size > by_jpeg(test, 5)[0]


def test_curves_are_read_between_their_points_only():
    points = [(4.0, 10.0, torch.empty(0)), (16.0, 20.0, torch.empty(0))]
    assert at_bytes(points, 8.0) == pytest.approx(15.0)
    assert math.isnan(at_bytes(points, 3.9))
    assert math.isnan(at_bytes(points, 17.0))


def test_pictures_are_drawn(finding, drawn):
    assert set(drawn(finding)) == {"rate_distortion", "decoded"}


def test_impossible_settings_are_refused(decoder_only):
    with pytest.raises(LatentlabError, match="must be positive"):
        Compression(steps=(0.0,))
    with pytest.raises(LatentlabError, match="not negative"):
        Compression(prices=(-1.0,))
    with pytest.raises(LatentlabError, match="has no encoder"):
        TASK.run(decoder_only)
