"""Memorization of a model that returns the nearest stored image."""

import dataclasses
from pathlib import Path

import pytest
import torch

from diagnostics.stand_ins import CORRELATED_SHAPE, correlated_evaluator
from latentlab.config import EvaluationSettings
from latentlab.contracts import to_float
from latentlab.diagnostics import memorization
from latentlab.inference.trained import TrainedModel
from latentlab.models.linear_ae import LinearAE


class NearestImage:
    """The code is the index of the nearest stored image, which is the reconstruction."""

    latent_dim, family = 1, "AE"

    def __init__(self, images):
        self.memory = images.flatten(1)

    def encode(self, x):
        distances = (x.flatten(1)[:, None] - self.memory).square().sum(2)
        return distances.argmin(1, keepdim=True).float()

    def decode(self, z):
        return self.memory[z[:, 0].round().long()].unflatten(1, CORRELATED_SHAPE)

    features = encode


@pytest.fixture
def evaluator():
    return correlated_evaluator()


def trained(module):
    settings = EvaluationSettings()
    return TrainedModel("toy", Path(), module, None, CORRELATED_SHAPE, settings, {})


def test_errors_of_the_model_and_of_both_baselines(evaluator):
    stored = to_float(evaluator.train.images[:20])
    module = NearestImage(stored)
    assert memorization.applies(module)
    assert not memorization.applies(LinearAE(CORRELATED_SHAPE))
    result = memorization.diagnose(trained(module), evaluator)
    test = to_float(evaluator.test.images).flatten(1)
    distances = torch.cdist(test.double(), stored.flatten(1).double()).square()
    nearest = distances.min(1).values.mean().item()
    assert result.table["this model"]["train"] == 0
    assert result.table["this model"]["test"] == pytest.approx(nearest, rel=1e-4)
    assert result.table["nearest training image"]["test"] == pytest.approx(nearest, rel=1e-4)
    variance = (stored.flatten(1) - stored.flatten(1).mean(0)).square().sum(1).mean().item()
    assert result.table["mean training image"]["train"] == pytest.approx(variance, rel=1e-4)
    assert result.warnings == ["memorizes"]


def test_only_the_first_test_images_are_used(evaluator, monkeypatch):
    module = NearestImage(to_float(evaluator.train.images[:20]))
    few = dataclasses.replace(evaluator, test=evaluator.test.first(30))
    expected = memorization.diagnose(trained(module), few)
    monkeypatch.setattr(memorization, "MAX_TEST_IMAGES", 30)
    found = memorization.diagnose(trained(module), evaluator)
    assert (found.metrics, found.summary) == (expected.metrics, expected.summary)


def test_no_warning_if_the_test_error_is_as_low(evaluator):
    module = NearestImage(
        torch.cat([to_float(evaluator.test.images), torch.rand(1, *CORRELATED_SHAPE)])
    )
    assert memorization.diagnose(trained(module), evaluator).warnings == []
