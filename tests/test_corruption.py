"""Each corruption against the distribution that it is said to have."""

import math

import pytest
import torch
from scipy.stats import kstest, norm

from latentlab.corruption import (
    CORRUPTIONS,
    box_downsample,
    clipped_gaussian,
    corruption,
    gaussian,
    masking,
    salt_and_pepper,
    warp,
)

STRENGTHS = {"gaussian": 0.5, "clipped_gaussian": 0.5, "masking": 0.3, "salt_and_pepper": 0.4}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_gaussian_noise_is_normal_around_the_image():
    x = torch.rand(40, 1, 16, 16, generator=seeded(1))
    noise = (gaussian(x, 0.7, seeded()) - x).flatten().numpy()
    assert kstest(noise, norm(scale=0.7).cdf).pvalue > 0.01
    assert gaussian(x, 0.7, seeded()).min() < 0


def test_clipping_shifts_the_mean_as_the_censored_normal_says():
    """E[max(sigma · eps, 0)] = sigma / √(2π) for a black pixel, far from the upper end."""
    x_tilde = clipped_gaussian(torch.zeros(100_000), 0.2, seeded())
    assert x_tilde.min() == 0
    assert x_tilde.mean().item() == pytest.approx(0.2 / math.sqrt(2 * math.pi), rel=0.02)
    assert clipped_gaussian(torch.ones(1000), 0.2, seeded()).max() == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_masking_zeroes_its_share_and_leaves_the_rest(share):
    x = torch.rand(50_000, generator=seeded(1)) + 0.5
    x_tilde = masking(x, share, seeded())
    kept = x_tilde != 0
    assert torch.equal(x_tilde[kept], x[kept])
    error = 4 * math.sqrt(share * (1 - share) / len(x))
    assert 1 - kept.float().mean().item() == pytest.approx(share, abs=error)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_salt_and_pepper_are_equally_many_and_the_rest_stays(share):
    x = 0.25 + torch.rand(50_000, generator=seeded(1)) / 2
    x_tilde = salt_and_pepper(x, share, seeded())
    error = 4 * math.sqrt(0.25 / len(x))
    assert (x_tilde == 0).float().mean().item() == pytest.approx(share / 2, abs=error)
    assert (x_tilde == 1).float().mean().item() == pytest.approx(share / 2, abs=error)
    kept = (x_tilde != 0) & (x_tilde != 1)
    assert torch.equal(x_tilde[kept], x[kept])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_generator_owns_the_draw_and_x_stays_as_it_was(name):
    x = torch.rand(3, 1, 8, 8)
    before, corrupt = x.clone(), corruption(name, STRENGTHS[name])
    state = torch.get_rng_state()
    first = corrupt(x, seeded(3))
    assert torch.equal(first, corrupt(x, seeded(3)))
    assert not torch.equal(first, corrupt(x, seeded(4)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert first.dtype == x.dtype
    assert torch.equal(corruption(name, 0.0)(x, None), x)


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
    ("name", "strength", "said"),
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
def test_impossible_corruptions_are_refused_before_any_image_comes(name, strength, said):
    with pytest.raises(ValueError, match=said):
        corruption(name, strength)


@pytest.mark.parametrize("scale", [0, -2, 3])
def test_a_scale_that_does_not_divide_the_image_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale {scale} does not divide images of 8×8"):
        box_downsample(torch.rand(1, 1, 8, 8), scale)


def test_a_warp_is_one_small_affine_map_for_each_image():
    """Two ramps, u and v, carry the place that each pixel was taken from: a map to be fitted."""
    side, strength = 41, 0.2
    place = (torch.arange(side) + 0.5) / side - 0.5  # of a pixel, in sides of the image
    v, u = torch.meshgrid(place, place, indexing="ij")
    taken = warp(torch.stack([u, v]).expand(500, 2, side, side), strength, seeded())
    inside = ((u.abs() < 0.25) & (v.abs() < 0.25)).flatten()  # the border is not reached from here
    known = torch.stack([u, v, torch.ones_like(u)], -1).flatten(0, 1)[inside]
    wanted = taken.flatten(2)[..., inside].transpose(1, 2)  # (500, pixels, 2)
    maps = torch.linalg.lstsq(known.expand(500, *known.shape), wanted).solution  # (500, 3, 2)
    torch.testing.assert_close(known @ maps, wanted, atol=1e-5, rtol=0)
    along, across = maps[:, 0], maps[:, 1]  # where a step to the right and one down lead
    turn = torch.atan2(along[:, 1], along[:, 0])
    zoom = along.norm(dim=1)
    area = torch.linalg.det(maps[:, :2])  # shearing keeps it
    shear = (along * across).sum(1) / zoom**2
    for found, limit in ((turn, strength), (zoom - 1, strength), (shear, strength)):
        assert found.abs().max() <= limit + 1e-5
        assert found.abs().max() > 0.95 * limit
    torch.testing.assert_close(area, zoom**2, atol=1e-4, rtol=0)
    shift = maps[:, 2].abs().amax(0)
    assert (shift <= strength / 4 + 1e-5).all()
    assert (shift > 0.9 * strength / 4).all()


def test_a_warp_of_strength_0_changes_nothing_and_an_impossible_one_is_refused():
    x = torch.rand(2, 1, 8, 8, generator=seeded())
    assert warp(x, 0.0) is x
    for strength in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="must be in"):
            warp(x, strength)
