"""Classifier: shapes, random translations in training only, the loss."""

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
