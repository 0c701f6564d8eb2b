"""Classifier: shapes, random translations in training only, the loss."""

import pytest
import torch
import torch.nn.functional as F

from latentlab.models.classifier import Classifier
from latentlab.transforms.augmentation import random_translation


def test_it_has_128_features_and_a_logit_for_each_class():
    model = Classifier((1, 28, 28), num_classes=7).eval()
    x = torch.rand(3, 1, 28, 28)
    assert model.features(x).shape == (3, 128)
    assert model(x).shape == (3, 7)
    assert Classifier((1, 28, 28), num_classes=1).eval()(x).shape == (3, 1)


def test_images_are_shifted_in_training_and_not_in_validation():
    torch.manual_seed(0)
    model = Classifier((1, 28, 28), num_classes=7).eval()
    model.head.weight.data *= 1000  # so that each pixel of a shift is noticed
    x, y = torch.rand(20, 1, 28, 28), torch.arange(20) % 7
    expected = F.cross_entropy(model(x), y)
    torch.testing.assert_close(model.validation_step((x, y), 0)["loss"], expected)
    assert model.max_shift == 2  # a tenth of the side
    assert Classifier((1, 30, 20), num_classes=7).max_shift == 3
    torch.manual_seed(1)
    shifted = random_translation(x, 2)
    torch.manual_seed(1)
    training = model.training_step((x, y), 0)["loss"]
    torch.testing.assert_close(training, F.cross_entropy(model(shifted), y))
    assert not torch.allclose(training, expected)


@pytest.mark.parametrize(
    ("shape", "half", "quarter"),
    [((1, 28, 28), 14, 7), ((3, 8, 8), 4, 2), ((1, 3, 3), 1, 1)],
)
def test_the_blocks_work_at_full_half_and_quarter_resolution(shape, half, quarter):
    """All images have 4×4 means of the third block, and at least one cell there."""
    model, x = Classifier(shape, num_classes=2, width=3).eval(), torch.rand(2, *shape)
    h, shapes = x, []
    for layer in model.trunk:
        h = layer(h)
        if isinstance(layer, torch.nn.Sequential):
            shapes.append(tuple(h.shape[1:]))
            assert layer[0].bias is None, "batch normalization has one"
    assert shapes == [(3, *shape[1:]), (6, half, half), (6, quarter, quarter)]
    assert model.trunk[-2].in_features == 6 * 4 * 4
    assert torch.equal(model.features(x), h)


def test_local_features_are_means_of_the_second_block_with_variance_1():
    torch.manual_seed(0)
    model = Classifier((1, 28, 28), num_classes=7).eval()
    x = torch.rand(40, 1, 28, 28)
    with torch.no_grad():
        h = model.trunk[2](model.trunk[1](model.trunk[0](x)))  # (40, 64, 14, 14)
        cells = [h[:, :, r : r + 7, c : c + 7].mean((2, 3)) for r in (0, 7) for c in (0, 7)]
        expected = torch.stack(cells, 2).flatten(1)  # (40, 256)
        torch.testing.assert_close(model.local_features(x), expected)
        for _ in range(2):  # the second call changes nothing
            model.fit_feature_scale(x)
            scaled = model.local_features(x)
            assert float(scaled.var(0).mean()) == pytest.approx(1, rel=1e-4)
        torch.testing.assert_close(scaled / model.feature_scale, expected)
        both = model.both_features(x)
        torch.testing.assert_close(both, torch.cat([scaled, model.features(x)], 1))


def test_the_scale_is_exact_for_tiny_features():
    """Their variance is below the least number in float32, and so is that of the next images."""
    torch.manual_seed(0)
    model, x = Classifier((1, 8, 8), num_classes=0, width=4).eval(), torch.rand(20, 1, 8, 8)
    model.trunk[2][1].weight.data *= 1e-25
    for images in (x, x / 4):
        model.fit_feature_scale(images)
        with torch.no_grad():
            scaled = model.local_features(images).double()
        assert float(scaled.var(0).mean()) == pytest.approx(1, rel=1e-4)


@pytest.mark.filterwarnings("ignore:var")
@pytest.mark.parametrize("count", [5, 1])
def test_equal_images_keep_the_scale(count):
    """One image has no variance."""
    model = Classifier((1, 28, 28), num_classes=0).eval()
    model.fit_feature_scale(torch.zeros(count, 1, 28, 28))
    assert model.feature_scale == 1


def test_a_frozen_copy_computes_what_the_classifier_in_eval_mode_does():
    torch.manual_seed(0)
    model = Classifier((3, 28, 28), num_classes=7, width=8).train()
    x = torch.rand(20, 3, 28, 28)
    for block in (model.trunk[0], model.trunk[2], model.trunk[4]):
        torch.nn.init.uniform_(block[1].weight, 0.5, 2)
        torch.nn.init.normal_(block[1].bias)
    for _ in range(3):
        model(x + 1)  # running statistics that are not those of x
    frozen = model.frozen()
    assert model.training
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    model.eval()
    with torch.no_grad():
        for method in ("forward", "features", "local_features", "both_features"):
            torch.testing.assert_close(getattr(frozen, method)(x), getattr(model, method)(x))


def test_the_accuracy_is_the_fraction_of_right_answers():
    model = Classifier((1, 28, 28), num_classes=7).eval()
    x = torch.rand(20, 1, 28, 28)
    y = model(x).argmax(1)
    y[:5] = (y[:5] + 1) % 7
    accuracy = model.validation_step((x, y), 0)["accuracy"]
    assert accuracy.shape == ()
    assert float(accuracy) == pytest.approx(0.75)
