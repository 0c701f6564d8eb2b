"""Regularization of discriminators: known gradients, singular values by SVD, counts."""

import math

import pytest
import torch
from torch import nn

from latentlab.networks.conv import Discriminator
from latentlab.networks.mlp import dense
from latentlab.networks.regularization import (
    AUGMENTATIONS,
    DiscriminatorRegularization,
    MinibatchStddev,
)

SHAPE = (1, 8, 8)


def test_the_r1_penalty_of_a_linear_discriminator_is_half_its_squared_gradient():
    direction = torch.randn(64)
    x = torch.rand(4, *SHAPE, requires_grad=True)
    logits = x.flatten(1) @ direction
    expected = float(direction.square().sum()) / 2
    every = DiscriminatorRegularization(r1_gamma=1.0)
    assert float(every.r1_penalty(logits, x, 5)) == pytest.approx(expected, rel=1e-5)
    lazy = DiscriminatorRegularization(r1_gamma=10.0, r1_interval=3)
    logits = x.flatten(1) @ direction
    assert float(lazy.r1_penalty(logits, x, 6)) == pytest.approx(30 * expected, rel=1e-5)
    assert float(lazy.r1_penalty(logits, x, 7)) == 0
    assert [step for step in range(8) if lazy.has_r1(step)] == [0, 3, 6]
    assert not DiscriminatorRegularization().has_r1(0)


def test_spectral_norm_makes_every_largest_singular_value_one():
    net = DiscriminatorRegularization(spectral_norm=True).apply_to(
        Discriminator((1, 16, 16), width=4, batch_norm=False)
    )
    for _ in range(200):
        net(torch.rand(2, 1, 16, 16))
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        assert float(largest) == pytest.approx(1, abs=1e-3)


def test_minibatch_stddev_appends_the_standard_deviation_over_the_batch():
    h = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    torch.testing.assert_close(
        MinibatchStddev()(h), torch.cat([h, torch.full((2, 1), (1 + 2) / 2)], 1), atol=1e-6, rtol=0
    )
    torch.manual_seed(0)
    plain = Discriminator(SHAPE, width=4)
    x = torch.rand(6, *SHAPE)
    before = plain(x)
    changed = DiscriminatorRegularization(minibatch_stddev=True).apply_to(plain)
    torch.testing.assert_close(changed(x), before)  # the weights of the new input are 0
    changed(x).sum().backward()
    assert float(changed.head[1].weight.grad[0, -1]) > 0


def test_minibatch_stddev_comes_before_a_layer_with_batch_norm_too():
    torch.manual_seed(0)
    net = nn.ModuleDict({"head": dense(3, 4)})
    h = torch.rand(6, 3)
    before = net["head"](h)
    DiscriminatorRegularization(minibatch_stddev=True).apply_to(net)
    torch.testing.assert_close(net["head"](h), before)
    assert net["head"][1].bias is None


def test_packing_joins_neighbours_as_channels_and_fills_the_last_pack():
    x = torch.arange(5.0)[:, None, None, None].expand(5, 2, 3, 3)
    packed = DiscriminatorRegularization(packing=2).augment(x)
    assert packed.shape == (3, 4, 3, 3)
    assert packed[:, ::2, 0, 0].tolist() == [[0, 1], [2, 3], [4, 0]]
    assert DiscriminatorRegularization(packing=2).packed_shape((2, 3, 3)) == (4, 3, 3)
    repeated = DiscriminatorRegularization(packing=2).repeat(x)
    assert repeated[:, ::2, 0, 0].tolist() == [[i, i] for i in range(5)]


def test_instance_noise_falls_linearly_to_0():
    x = torch.zeros(4, 1, 64, 64)
    noisy = DiscriminatorRegularization(instance_noise_std=0.4)
    for progress in (0.0, 0.5, 0.9):
        std = float(noisy.augment(x, progress).std())
        assert std == pytest.approx(0.4 * (1 - progress), rel=0.05)
    assert torch.equal(noisy.augment(x, 1.0), x)


def test_images_in_0_1_get_the_same_augmentation():
    x = torch.rand(4, *SHAPE)
    regularization = DiscriminatorRegularization(
        instance_noise_std=0.4, diff_augment=("brightness", "contrast", "translation", "cutout")
    )
    torch.manual_seed(0)
    expected = (regularization.augment(2 * x - 1, 0.5) + 1) / 2
    torch.manual_seed(0)
    assert torch.equal(regularization.augment_unit(x, 0.5), expected)
    assert not torch.equal(expected, x)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"real_label": 0.0}, "fake_label must be smaller than real_label"),
        ({"fake_label": -0.1}, r"must be in \[0, 1\]"),
        ({"instance_noise_std": -1.0}, "instance_noise_std is -1.0: it must be ≥ 0"),
        ({"r1_gamma": -1.0}, "r1_gamma is -1.0"),
        ({"packing": 0}, "packing is 0: it must be ≥ 1"),
        ({"r1_interval": 0}, "r1_interval is 0"),
        ({"diff_augment": ("flip",)}, "unknown augmentation 'flip': choose from brightness"),
    ],
)
def test_invalid_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        DiscriminatorRegularization(**setting)


def test_there_is_no_batch_norm_if_each_logit_must_depend_on_one_image():
    assert DiscriminatorRegularization(packing=2, minibatch_stddev=True).batch_norm
    assert not DiscriminatorRegularization(r1_gamma=1.0).batch_norm
    assert not DiscriminatorRegularization(spectral_norm=True).batch_norm
    classes = [type(m) for m in Discriminator((1, 16, 16), width=4, batch_norm=False).modules()]
    assert nn.BatchNorm2d not in classes
    assert math.prod(DiscriminatorRegularization(packing=3).packed_shape(SHAPE)) == 3 * 64


def test_only_options_that_are_on_can_be_unsupported():
    reasons = {"packing": "there is one image"}
    DiscriminatorRegularization(spectral_norm=True).require_supported(reasons, model="a model")
    with pytest.raises(
        ValueError, match=r"packing is 2, but a model does not .*: there is one image"
    ):
        DiscriminatorRegularization(packing=2).require_supported(reasons, model="a model")


def test_all_augmentations_are_applied_in_their_order():
    x, names = torch.rand(4, 3, 8, 8), tuple(AUGMENTATIONS)
    assert len(names) > 1
    torch.manual_seed(0)
    found = DiscriminatorRegularization(diff_augment=names).augment(x)
    torch.manual_seed(0)
    for name in names:
        x = AUGMENTATIONS[name](x)
    assert torch.equal(found, x)


def test_without_a_progress_the_noise_is_that_of_the_beginning():
    noisy = DiscriminatorRegularization(instance_noise_std=0.3)
    x = torch.zeros(50, 1, 20, 20)
    assert float(noisy.augment(x).std()) == pytest.approx(0.3, rel=0.05)
    assert float(noisy.augment_unit(x).std()) == pytest.approx(0.15, rel=0.05)


@pytest.mark.parametrize(("packing", "packs"), [(1, 7), (2, 4), (3, 3), (7, 1), (9, 1)])
def test_there_are_as_many_packs_as_images_need(packing, packs):
    packed = DiscriminatorRegularization(packing=packing).pack(torch.rand(7, 2, 3, 3))
    assert packed.shape == (packs, 2 * packing, 3, 3)


@pytest.mark.parametrize("labels", [(0.1, 0.9), (0.5, 0.5), (1.5, 0.0), (1.0, -0.1)])
def test_labels_that_are_not_in_order_from_0_to_1_are_refused(labels):
    with pytest.raises(ValueError, match="fake_label must be smaller than real_label"):
        DiscriminatorRegularization(real_label=labels[0], fake_label=labels[1])


def test_the_first_unknown_augmentation_in_the_order_of_letters_is_named():
    with pytest.raises(ValueError, match="unknown augmentation 'blur': choose from"):
        DiscriminatorRegularization(diff_augment=("zoom", "blur"))
