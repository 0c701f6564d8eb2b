"""Diffusion: exact results for Gaussian data, and the noise schedule."""

import math

import pytest
import torch
from scipy import stats

from latentlab.models.ddpm import DDPM

SHAPE = (1, 8, 8)
DATA_STD = 0.3  # of images in [−1, 1]


class GaussianData(DDPM):
    """The exact prediction of the noise, E[eps | x_t], for pixels of N(0, DATA_STD²)."""

    def noise(self, x_t, t):
        keep, add = self.signal(t)
        return add * x_t / (keep**2 * DATA_STD**2 + add**2)


def exact(sampling_steps):
    return GaussianData(SHAPE, sampling_steps=sampling_steps, width=8)


def test_the_schedule_is_the_cosine_of_nichol_and_dhariwal():
    t = torch.linspace(0, 0.99, 7, dtype=torch.float64)
    keep, add = (part.flatten() for part in DDPM.signal(t))
    angle = [(float(u) + 0.008) / 1.008 * math.pi / 2 for u in t]
    torch.testing.assert_close(keep**2, torch.tensor([math.cos(a) ** 2 for a in angle]).double())
    torch.testing.assert_close(keep**2 + add**2, torch.ones_like(t))


def test_decoding_normal_codes_gives_the_distribution_of_the_data():
    torch.manual_seed(0)
    x = 2 * exact(200).decode(torch.randn(200, 64)) - 1
    assert float(x.std()) == pytest.approx(DATA_STD, rel=0.02)
    assert stats.kstest(x.flatten()[::7].numpy() / float(x.std()), "norm").pvalue > 1e-3


def test_fewer_steps_have_a_larger_error():
    z = torch.randn(50, 64)
    errors = [
        float((2 * exact(steps).decode(z) - 1 - DATA_STD * z.unflatten(1, SHAPE)).abs().mean())
        for steps in (5, 20, 100)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_decoding_inverts_encoding():
    model = exact(400)
    x = ((DATA_STD * torch.randn(20, *SHAPE) + 1) / 2).clamp(0, 1)
    codes = model.encode(x)
    assert float(codes.std()) == pytest.approx(1, rel=0.05)
    assert float((model.decode(codes) - x).abs().max()) < 0.02


def test_the_initial_loss_is_the_number_of_pixels():
    """eps_θ is 0 at initialization, and E Σ eps² is the number of pixels."""
    model = DDPM(SHAPE, width=8)
    loss = model.loss(torch.rand(2000, *SHAPE))["loss"].item()
    assert loss == pytest.approx(64, abs=5 * math.sqrt(2 * 64 / 2000))


def test_each_training_batch_has_all_noise_levels():
    times = []

    class Recorder(DDPM):
        def noise(self, x_t, t):
            times.append(t)
            return x_t

    Recorder(SHAPE, width=8).loss(torch.rand(16, *SHAPE))
    gaps = times[0].sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 16), atol=1e-6, rtol=0)


def test_invalid_settings_are_errors():
    with pytest.raises(ValueError, match=r"multiples of 4: set data\.size"):
        DDPM((1, 30, 30))
    with pytest.raises(ValueError, match="sampling_steps is 0: it must be ≥ 1"):
        DDPM(SHAPE, sampling_steps=0)
    with pytest.raises(ValueError, match="width is 12: it must be a multiple of 8"):
        DDPM(SHAPE, width=12)
