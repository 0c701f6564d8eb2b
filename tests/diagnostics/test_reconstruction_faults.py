"""Reconstruction faults: dead outputs by hand, and PCA against PCA."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diagnostics.stand_ins import CORRELATED_SHAPE, correlated_evaluator
from latentlab.config import EvaluationSettings
from latentlab.diagnostics.reconstruction_faults import diagnose, measure
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.pca import PCA, PCACoder


class Scaled:
    """The reconstructions of PCA, moved to a constant: mix · PCA(x) + (1 − mix) · constant."""

    family, latent_dim = "AE", 3

    def __init__(self, coder, mix, constant=0.0):
        self.coder, self.mix, self.constant = coder, mix, constant

    def encode(self, x):
        return self.coder.encode(x)

    def decode(self, z):
        return self.mix * self.coder.decode(z) + (1 - self.mix) * self.constant

    features = encode


@pytest.fixture(scope="module")
def evaluator():
    return correlated_evaluator()


@pytest.fixture(scope="module")
def coder(evaluator):
    return PCACoder(PCA.fit(evaluator.train), 3, CORRELATED_SHAPE)


def result(module, evaluator):
    settings = EvaluationSettings()
    trained = TrainedModel("toy", Path(), module, None, CORRELATED_SHAPE, settings, {})
    return diagnose(trained, evaluator)


def test_dead_outputs_are_constant_at_0_or_1_where_the_images_vary():
    torch.manual_seed(0)
    x = torch.rand(50, 1, 2, 4)
    x[:, 0, 0, 0] = 0.5 + 0.01 * torch.rand(50)  # does not vary enough to be a fault
    x_hat = x.clone()
    x_hat[:, 0, 0, 0] = 0  # constant, but so are the images
    x_hat[:, 0, 0, 1] = 1  # dead
    x_hat[:, 0, 0, 2] = 0.001  # dead: it rounds to grey level 0
    x_hat[:, 0, 0, 3] = 0.5  # constant, but not saturated: its gradient is not lost
    x_hat[:-1, 0, 1, 0] = 0  # one image differs
    x_hat[-1, 0, 1, 0] = 0.9
    pairs = [(x[:30], x_hat[:30]), (x[30:], x_hat[30:])]
    dead, sse = measure(pairs)
    assert dead == 2
    assert sse == pytest.approx(float((x - x_hat).square().sum() / 50), rel=1e-6)


def test_a_model_that_pca_beats_has_a_warning(evaluator, coder):
    assert result(coder, evaluator).warnings == []
    assert result(Scaled(coder, 0.999), evaluator).warnings == [], "a difference below 5 %"
    worse = result(Scaled(coder, 0.5, 0.5), evaluator)
    (warning,) = worse.warnings
    assert warning.startswith("PCA is better: SSE ")
    for row in worse.table.values():
        assert row["SSE"] > row["SSE of PCA-3"]


def test_a_code_as_large_as_the_image_is_not_compared_with_pca(evaluator):
    values = 16
    whole = PCACoder(PCA.fit(evaluator.train), values, CORRELATED_SHAPE)
    blurred = Scaled(whole, 0.9, 0.5)
    blurred.latent_dim = values
    assert result(blurred, evaluator).warnings == []


def test_pca_has_at_most_as_many_components_as_the_training_images_have(evaluator, coder):
    few = replace(evaluator, train=evaluator.train.first(3))
    table = result(coder, few).table
    assert all("SSE of PCA-2" in row for row in table.values())


def test_a_model_whose_outputs_are_all_saturated(evaluator, coder):
    black = result(Scaled(coder, 0.0), evaluator)
    assert black.metrics["dead_outputs"] > 0
    assert black.warnings[0].startswith(f"dead outputs: {black.metrics['dead_outputs']} of 16 ")
