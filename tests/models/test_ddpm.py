"""The diffusion model against what is known of Gaussian data, and of its own schedule."""

import math

import pytest
import torch
from scipy import stats

from latentlab.models.ddpm import DDPM
from latentlab.nets.denoiser import Denoiser, Waves, patch_side

SHAPE = (1, 8, 8)
SPREAD = 0.3  # standard deviation of the data, in [−1, 1]


class GaussianData(DDPM):
    """Knows the noise of x_t exactly: E[eps | x_t] where all pixels are N(0, SPREAD²)."""

    def noise(self, x_t, t):
        keep, add = self.signal(t)
        return add * x_t / (keep**2 * SPREAD**2 + add**2)


def exact(walk):
    return GaussianData(SHAPE, walk=walk, width=8)


def test_the_schedule_is_the_cosine_of_nichol_and_dhariwal():
    t = torch.linspace(0, 0.99, 7, dtype=torch.float64)
    keep, add = (part.flatten() for part in DDPM.signal(t))
    angle = [(float(u) + 0.008) / 1.008 * math.pi / 2 for u in t]
    torch.testing.assert_close(keep**2, torch.tensor([math.cos(a) ** 2 for a in angle]).double())
    torch.testing.assert_close(keep**2 + add**2, torch.ones_like(t))


def test_a_walk_turns_noise_into_the_data_where_the_noise_is_known():
    torch.manual_seed(0)
    x = 2 * exact(200).decode(torch.randn(200, 64)) - 1
    assert float(x.std()) == pytest.approx(SPREAD, rel=0.02)
    assert stats.kstest(x.flatten()[::7].numpy() / float(x.std()), "norm").pvalue > 1e-3


def test_fewer_steps_err_more():
    z = torch.randn(50, 64)
    errors = [
        float((2 * exact(walk).decode(z) - 1 - SPREAD * z.unflatten(1, SHAPE)).abs().mean())
        for walk in (5, 20, 100)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_encoding_walks_the_same_way_back():
    model = exact(400)
    x = ((SPREAD * torch.randn(20, *SHAPE) + 1) / 2).clamp(0, 1)
    codes = model.encode(x)
    assert float(codes.std()) == pytest.approx(1, rel=0.05)
    assert float((model.decode(codes) - x).abs().max()) < 0.02


def test_the_loss_is_the_number_of_pixels_before_anything_is_learned():
    """eps_θ starts at 0, and E Σ eps² is the dimension."""
    model = DDPM(SHAPE, width=8)
    loss = model.loss(torch.rand(2000, *SHAPE))["loss"].item()
    assert loss == pytest.approx(64, abs=5 * math.sqrt(2 * 64 / 2000))


def test_each_training_batch_sees_all_noise_levels():
    seen = []

    class Watching(DDPM):
        def noise(self, x_t, t):
            seen.append(t)
            return x_t

    Watching(SHAPE, width=8).loss(torch.rand(16, *SHAPE))
    gaps = seen[0].sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 16), atol=1e-6, rtol=0)


def test_the_denoiser_is_told_the_time():
    torch.manual_seed(0)
    net = Denoiser(SHAPE, width=8)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, *SHAPE)
    early, late = net(x, torch.tensor([0.1, 0.1])), net(x, torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(early[0], late[0])
    assert not torch.allclose(early[1], late[1])


def test_neighbouring_times_look_alike_and_distant_ones_do_not():
    waves = Waves(32)(torch.tensor([0.3, 0.30001, 0.6]))
    near, far = torch.cosine_similarity(waves[:1], waves[1:])
    assert near > 0.99
    assert far < 0.7


@pytest.mark.parametrize(("side", "patch"), [(8, 1), (28, 2), (32, 2), (64, 4)])
def test_larger_images_are_taken_in_larger_patches(side, patch):
    assert patch_side((1, side, side)) == patch


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 4: set data\.size"):
        DDPM((1, 30, 30))
    with pytest.raises(ValueError, match="walk is 0: a walk takes 1 step or more"):
        DDPM(SHAPE, walk=0)
    with pytest.raises(ValueError, match="width is 12: it must be a multiple of 8"):
        DDPM(SHAPE, width=12)
