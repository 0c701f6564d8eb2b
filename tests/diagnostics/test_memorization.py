"""Memorization of a model that returns the nearest stored image."""

import dataclasses
from pathlib import Path

import pytest
import torch

from diagnostics.stand_ins import CORRELATED_SHAPE, correlated_evaluator, figure_inputs
from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
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
    baseline = {"train": 0, "test": pytest.approx(nearest, rel=1e-4)}
    assert result.table["nearest training image"] == baseline
    mean = stored.flatten(1).mean(0)
    errors = [(x - mean).square().sum(1).mean().item() for x in (stored.flatten(1), test)]
    assert list(result.table["mean training image"].values()) == pytest.approx(errors, rel=1e-4)
    assert result.metrics == {"train_sse": 0, "test_sse": result.table["this model"]["test"]}
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


class Shifted:
    """Black images are reconstructed with an error of 16 · dark², white ones with 16 · 0.5²."""

    latent_dim, family = 1, "AE"

    def __init__(self, dark):
        self.dark, self.memory = dark, torch.zeros(5, 16)

    def encode(self, x):
        return x.flatten(1).mean(1, keepdim=True)

    def decode(self, z):
        level = torch.where(z > 0.5, 0.5, self.dark)
        return level.expand(-1, 16).unflatten(1, CORRELATED_SHAPE)

    features = encode


@pytest.mark.parametrize(("dark", "memorizes"), [(0.24, True), (0.25, False), (0.26, False)])
def test_a_training_error_below_a_fraction_of_the_test_error_is_memorization(
    evaluator, monkeypatch, dark, memorizes
):
    monkeypatch.setattr(memorization, "MAX_RATIO", 0.25)  # 0.25² / 0.5²: equal without rounding
    white = Split(torch.full((7, *CORRELATED_SHAPE), 255, dtype=torch.uint8))
    result = memorization.diagnose(
        trained(Shifted(dark)), dataclasses.replace(evaluator, test=white)
    )
    assert result.metrics["train_sse"] == pytest.approx(16 * dark**2)
    assert result.metrics["test_sse"] == 4
    assert result.warnings == (["memorizes"] if memorizes else [])


def test_figures_show_pairs_and_the_range_of_the_code(evaluator):
    """127 stored images, whose codes are 0, 1, …, 126: of 64 quantiles each is the next but one."""
    stored = to_float(evaluator.train.images[:127])
    result = memorization.diagnose(trained(NearestImage(stored)), evaluator)
    test = to_float(evaluator.test.images)
    nearest = stored[torch.cdist(test.flatten(1), stored.flatten(1)).argmin(1)]
    for name, x, x_hat in (("train", stored, stored), ("test", test, nearest)):
        above, below = figure_inputs(result, name)
        assert torch.equal(above, x[:16])
        assert torch.equal(below, x_hat[:16])
    (images,) = figure_inputs(result, "codes")
    assert torch.equal(images, stored[::2])
    assert result.figures[-1].save.keywords == {"columns": 16}
