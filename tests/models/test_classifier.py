"""Classifier: shapes, random translations in training only, the loss."""

import pytest
import torch
import torch.nn.functional as F

from latentlab.models.classifier import Classifier


def test_it_has_128_features_and_a_logit_for_each_class():
    model = Classifier((1, 28, 28), num_classes=7).eval()
    x = torch.rand(3, 1, 28, 28)
    assert model.features(x).shape == (3, 128)
    assert model(x).shape == (3, 7)


def test_images_are_shifted_in_training_and_not_in_validation():
    torch.manual_seed(0)
    model = Classifier((1, 28, 28), num_classes=7).eval()
    x, y = torch.rand(20, 1, 28, 28), torch.arange(20) % 7
    expected = F.cross_entropy(model(x), y)
    torch.testing.assert_close(model.validation_step((x, y), 0)["loss"], expected)
    assert not torch.allclose(model.training_step((x, y), 0)["loss"], expected)


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


def test_equal_images_keep_the_scale():
    model = Classifier((1, 28, 28), num_classes=0).eval()
    model.fit_feature_scale(torch.zeros(5, 1, 28, 28))
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
