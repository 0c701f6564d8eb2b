"""Translations against torch.roll, affine maps against a least squares fit."""

import pytest
import torch

from latentlab.transforms.augmentation import AUGMENTATIONS, random_affine, random_translation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_translation_takes_every_shift_equally_often_and_zeros_come_in():
    """Against torch.roll, on images with a margin of zeros."""
    x = torch.zeros(400, 2, 7, 8)
    x[:, :, 2:5, 2:6] = torch.rand(400, 2, 3, 4)
    torch.manual_seed(0)
    shifted = random_translation(x, 2)
    rolls = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    rolled = torch.stack([x.roll(shift, (2, 3)) for shift in rolls])  # (25, N, C, H, W)
    same = (rolled == shifted).flatten(2).all(2)  # (25, N)
    assert torch.equal(same.sum(0), torch.ones(400, dtype=torch.int64)), "one shift for each image"
    counts = same.sum(1)
    assert 4 <= counts.min() <= counts.max() <= 34, "16 expected, standard deviation 3.9"
    ones = random_translation(torch.ones(100, 1, 4, 4), 1)
    assert {9.0, 12.0, 16.0} == set(ones.sum((1, 2, 3)).tolist()), "both axes, one axis, none"
    with pytest.raises(ValueError, match="max_shift is 7 pixels: it must be in 0 … 6"):
        random_translation(x, 7)


def test_a_translation_can_have_one_reach_for_each_axis():
    x = torch.zeros(200, 1, 9, 7)
    x[:, 0, 4, 3] = 1
    shifted = random_translation(x, (0, 2)).squeeze(1)
    rows, columns = shifted.sum(2).argmax(1), shifted.sum(1).argmax(1)
    assert set(rows.tolist()) == {4}
    assert set(columns.tolist()) == {1, 2, 3, 4, 5}
    assert torch.equal(random_translation(x, 0), x)


def test_an_affine_map_of_each_image_stays_within_its_ranges():
    """The values of two ramps, u and v, are coordinates: a least squares fit finds the map."""
    side, strength = 41, 0.2
    position = (torch.arange(side) + 0.5) / side - 0.5  # of pixels, in sides of the image
    v, u = torch.meshgrid(position, position, indexing="ij")
    sampled = random_affine(torch.stack([u, v]).expand(500, 2, side, side), strength, seeded())
    inside = ((u.abs() < 0.25) & (v.abs() < 0.25)).flatten()  # far from the border
    known = torch.stack([u, v, torch.ones_like(u)], -1).flatten(0, 1)[inside]
    wanted = sampled.flatten(2)[..., inside].transpose(1, 2)  # (500, pixels, 2)
    maps = torch.linalg.lstsq(known.expand(500, *known.shape), wanted).solution  # (500, 3, 2)
    torch.testing.assert_close(known @ maps, wanted, atol=1e-5, rtol=0)
    along, across = maps[:, 0], maps[:, 1]  # images of the unit steps
    angle = torch.atan2(along[:, 1], along[:, 0])
    zoom = along.norm(dim=1)
    area = torch.linalg.det(maps[:, :2])  # shear keeps the area
    shear = (along * across).sum(1) / zoom**2
    for found, limit in ((angle, strength), (zoom - 1, strength), (shear, strength)):
        assert found.abs().max() <= limit + 1e-5
        assert found.abs().max() > 0.95 * limit
    torch.testing.assert_close(area, zoom**2, atol=1e-4, rtol=0)
    shift = maps[:, 2].abs().amax(0)
    assert (shift <= strength / 4 + 1e-5).all()
    assert (shift > 0.9 * strength / 4).all()


def test_strength_0_changes_nothing_and_a_strength_out_of_range_raises_an_error():
    x = torch.rand(2, 1, 8, 8, generator=seeded())
    assert random_affine(x, 0.0) is x
    for strength in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="must be in"):
            random_affine(x, strength)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_augmentations_are_differentiable(name):
    """Finite differences in double precision, with equal random numbers."""

    def augment(x):
        torch.manual_seed(3)
        return AUGMENTATIONS[name](x)

    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(augment, x)
    augment(x).square().sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_brightness_adds_one_value_to_each_image():
    x = torch.rand(200, 2, 16, 16)
    change = AUGMENTATIONS["brightness"](x) - x
    torch.testing.assert_close(change, change[:, :1, :1, :1].expand_as(x), atol=1e-6, rtol=0)
    assert -0.5 <= float(change.min()) < -0.4 < 0.4 < float(change.max()) <= 0.5


def test_contrast_scales_each_image_about_its_mean():
    x = torch.rand(200, 2, 16, 16)
    scaled = AUGMENTATIONS["contrast"](x)
    torch.testing.assert_close(scaled.mean((1, 2, 3)), x.mean((1, 2, 3)))
    factor = scaled.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= float(factor.min()) < 0.6 < 1.4 < float(factor.max()) <= 1.5


def test_cutout_sets_a_rectangle_to_0():
    x = torch.rand(200, 2, 16, 16) + 1  # no value is 0
    blank = (AUGMENTATIONS["cutout"](x) == 0).float()
    assert torch.equal(blank[:, 0], blank[:, 1])
    assert blank.sum((1, 2, 3)).max() == 2 * 8 * 8
    rows, columns = blank[:, 0].amax(2), blank[:, 0].amax(1)
    assert torch.equal(rows[:, :, None] * columns[:, None], blank[:, 0]), "a rectangle"


def test_translation_is_at_most_an_eighth_of_the_side():
    x = torch.zeros(300, 1, 16, 16)
    x[:, :, 8, 8] = 1
    moved = AUGMENTATIONS["translation"](x)
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(300))
    place = moved.flatten(1).argmax(1)
    assert {int(p) // 16 for p in place} == {6, 7, 8, 9, 10} == {int(p) % 16 for p in place}
    assert len(set(place.tolist())) == 25, "rows and columns are independent"


def test_a_translation_moves_each_image_as_a_whole():
    x = torch.zeros(64, 1, 9, 9)
    x[:, 0, 4, 4] = 1
    torch.manual_seed(0)
    moved = random_translation(x, 2)
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    row, column = moved[:, 0].flatten(1).argmax(1) // 9, moved[:, 0].flatten(1).argmax(1) % 9
    assert set(row.tolist()) == set(column.tolist()) == {2, 3, 4, 5, 6}
    assert torch.equal(random_translation(x, 0), x)
