"""Masked autoencoder: what is hidden from the encoder, and what is in the loss."""

import math
from collections import Counter

import pytest
import torch

from latentlab.models.masked_ae import MaskedAE, count_visible
from latentlab.networks.vit import patchify

SHAPE = (1, 8, 8)


def build(**settings):
    torch.manual_seed(0)
    return MaskedAE(SHAPE, width=16, depth=2, **settings).double()


def test_every_patch_is_visible_equally_often_and_none_twice():
    model, trials = build(), 4000
    visible = model.sample_visible(torch.zeros(trials, *SHAPE))
    assert visible.shape == (trials, 4)  # a quarter of 16
    assert all(len(set(row)) == 4 for row in visible.tolist())
    counts = Counter(visible.flatten().tolist())
    std = math.sqrt(trials * 0.25 * 0.75)
    assert all(abs(counts[patch] - trials / 4) < 5 * std for patch in range(16))


def test_hidden_patches_reach_only_the_loss_and_visible_ones_only_the_encoder():
    model = build()
    x = torch.rand(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    visible = model.sample_visible(x)
    is_visible = torch.zeros(3, 16).scatter(1, visible, 1).bool()
    (gradient,) = torch.autograd.grad(model.inpaint(x, visible).square().sum(), x)
    used = patchify(gradient, 2).abs().sum(2) > 0
    assert torch.equal(used, is_visible)

    filled, target = model.inpaint(x, visible), patchify(x, 2)
    hidden = [
        (filled[i, ~is_visible[i]] - target[i, ~is_visible[i]]).square().sum() for i in range(3)
    ]
    assert torch.allclose(model.masked_error(x, visible), torch.stack(hidden))


def test_loss_is_both_sums_and_the_second_has_an_eighth_of_the_batch():
    model, x = build(), torch.rand(16, *SHAPE, dtype=torch.float64)
    torch.manual_seed(1)
    got = model.training_step((x, None), 0)
    torch.manual_seed(1)
    masked = model.masked_error(x, model.sample_visible(x)).mean()
    whole = (model.decode(model.encode(x[:2])) - x[:2]).square().sum() / 2
    assert torch.allclose(got["loss"], masked + whole)
    assert torch.allclose(got["sse"], whole)
    assert torch.allclose(got["sse_masked"], masked)
    few = model.training_step((x[:3], None), 0)["sse"]
    whole = (model.decode(model.encode(x[:1])) - x[:1]).square().sum()
    assert torch.allclose(few, whole), "at least one image"


def test_sse_is_the_error_of_decode_and_each_latent_changes_its_own_patch():
    model, x = build(latents_per_patch=3), torch.rand(4, *SHAPE, dtype=torch.float64)
    z = model.encode(x)
    assert z.shape == (4, 16 * 3)
    error = (model.decode(z) - x).square().sum((1, 2, 3)).mean()
    assert torch.allclose(model.validation_step((x, None), 0)["sse"], error)
    changed = z.clone()
    changed[:, 5 * 3 + 1] += 1
    difference = patchify(model.decode(changed) - model.decode(z), 2).abs().sum((0, 2))
    assert difference.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("ratio", [0, 1.0, -0.5, 0.98])
def test_a_mask_that_hides_no_or_all_patches_raises_an_error(ratio):
    with pytest.raises(ValueError, match=r"mask_ratio .* of 16 patches visible: choose it between"):
        MaskedAE(SHAPE, mask_ratio=ratio)


def test_features_are_the_tokens_at_their_places_averaged_to_4x4():
    torch.manual_seed(0)
    model = MaskedAE((1, 16, 16), patch_size=2, width=16, depth=1)  # 8×8 tokens
    x = torch.rand(3, 1, 16, 16)
    tokens = model.encoder(model.patchify(x)).view(3, 4, 2, 4, 2, 16)  # row, column, width
    expected = tokens.mean((2, 4)).permute(0, 3, 1, 2).flatten(1)
    torch.testing.assert_close(model.features(x), expected)


def test_sizes_follow_the_patch():
    model = MaskedAE((3, 16, 16), patch_size=4)
    assert model.patchify(torch.rand(2, 3, 16, 16)).shape == (2, 16, 48)
    assert (model.latents_per_patch, model.latent_dim) == (3, 48)
    assert model.decode(model.encode(torch.rand(2, 3, 16, 16))).shape == (2, 3, 16, 16)
    assert MaskedAE((1, 8, 8), patch_size=2).latents_per_patch == 1  # of 4 values


def test_the_error_of_a_mask_names_the_range():
    with pytest.raises(ValueError, match=r"choose it between 0\.031 and 0\.969, such as 0\.75"):
        MaskedAE(SHAPE, mask_ratio=1.0)


def test_at_least_one_patch_is_visible_and_one_hidden():
    counts = [count_visible(16, ratio) for ratio in (0.96, 0.9375, 0.5, 0.0625, 0.04)]
    assert counts == [1, 1, 8, 15, 15]


def test_patches_of_an_image_that_is_not_square():
    model, x = MaskedAE((1, 8, 16), patch_size=4), torch.rand(2, 1, 8, 16)
    assert (model.grid, model.num_patches) == ((2, 4), 8)
    assert model.decode(model.encode(x)).shape == x.shape
