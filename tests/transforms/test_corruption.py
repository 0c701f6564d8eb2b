"""Each corruption against its distribution."""

import math

import pytest
import torch
from scipy.stats import kstest, norm

from latentlab.transforms.corruption import (
    CORRUPTIONS,
    box_downsample,
    clipped_gaussian,
    corruption_at,
    gaussian,
    masking,
    salt_and_pepper,
)

LEVELS = {"gaussian": 0.5, "clipped_gaussian": 0.5, "masking": 0.3, "salt_and_pepper": 0.4}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_gaussian_noise_is_normal_around_the_image():
    x = torch.rand(40, 1, 16, 16, generator=seeded(1))
    noise = (gaussian(x, 0.7, seeded()) - x).flatten().numpy()
    assert kstest(noise, norm(scale=0.7).cdf).pvalue > 0.01
    assert gaussian(x, 0.7, seeded()).min() < 0


def test_clipped_gaussian_has_the_mean_of_the_censored_normal():
    """E[max(sigma · eps, 0)] = sigma / √(2π) for a black pixel, far from the upper end."""
    x_tilde = clipped_gaussian(torch.zeros(100_000), 0.2, seeded())
    assert x_tilde.min() == 0
    assert x_tilde.mean().item() == pytest.approx(0.2 / math.sqrt(2 * math.pi), rel=0.02)
    assert clipped_gaussian(torch.ones(1000), 0.2, seeded()).max() == 1


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_masking_sets_its_fraction_to_0_and_leaves_the_others(fraction):
    x = torch.rand(50_000, generator=seeded(1)) + 0.5
    x_tilde = masking(x, fraction, seeded())
    kept = x_tilde != 0
    assert torch.equal(x_tilde[kept], x[kept])
    error = 4 * math.sqrt(fraction * (1 - fraction) / len(x))
    assert 1 - kept.float().mean().item() == pytest.approx(fraction, abs=error)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_salt_and_pepper_are_equally_frequent_and_leave_the_others(fraction):
    x = 0.25 + torch.rand(50_000, generator=seeded(1)) / 2
    x_tilde = salt_and_pepper(x, fraction, seeded())
    error = 4 * math.sqrt(0.25 / len(x))
    assert (x_tilde == 0).float().mean().item() == pytest.approx(fraction / 2, abs=error)
    assert (x_tilde == 1).float().mean().item() == pytest.approx(fraction / 2, abs=error)
    kept = (x_tilde != 0) & (x_tilde != 1)
    assert torch.equal(x_tilde[kept], x[kept])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_generator_fixes_the_corruption_and_x_is_unchanged(name):
    x = torch.rand(3, 1, 8, 8)
    before, corrupt = x.clone(), corruption_at(name, LEVELS[name])
    state = torch.get_rng_state()
    first = corrupt(x, seeded(3))
    assert torch.equal(first, corrupt(x, seeded(3)))
    assert not torch.equal(first, corrupt(x, seeded(4)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert first.dtype == x.dtype
    assert torch.equal(corruption_at(name, 0.0)(x, None), x)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_box_downsampling_takes_the_means_of_boxes(scale):
    x = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    small = box_downsample(x, scale)
    assert small.shape == (2, 3, 8 // scale, 12 // scale)
    for row in range(8 // scale):
        for column in range(12 // scale):
            box = x[..., row * scale : (row + 1) * scale, column * scale : (column + 1) * scale]
            torch.testing.assert_close(small[..., row, column], box.mean((-2, -1)))


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("gaussian", -0.1, "sigma .* ≥ 0, got -0.1"),
        ("clipped_gaussian", math.nan, "sigma .* finite"),
        ("gaussian", math.inf, "sigma .* finite"),
        ("masking", 1.5, r"in \[0, 1\], got 1.5"),
        ("masking", math.nan, r"in \[0, 1\]"),
        ("salt_and_pepper", -0.4, r"in \[0, 1\], got -0.4"),
        ("rain", 0.5, "unknown corruption 'rain': choose one of gaussian, clipped_gaussian"),
    ],
)
def test_unknown_names_and_levels_out_of_range_raise_an_error(name, level, message):
    with pytest.raises(ValueError, match=message):
        corruption_at(name, level)


@pytest.mark.parametrize("scale", [0, -2, 3])
def test_a_scale_that_does_not_divide_the_image_raises_an_error(scale):
    with pytest.raises(ValueError, match=f"scale {scale} does not divide images of 8×8"):
        box_downsample(torch.rand(1, 1, 8, 8), scale)
