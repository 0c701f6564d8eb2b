"""Class conditioning of generators whose classes are correct, or exchanged."""

import dataclasses

import pytest
import torch

from diagnostics.stand_ins import (
    NAMES,
    THIRDS_SHAPE,
    ThirdsGenerator,
    sampling,
    thirds,
    thirds_evaluator,
)
from latentlab.contracts import Split
from latentlab.diagnostics import class_conditioning
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.models.vae import VAE
from latentlab.samplers import ClassConditional


@pytest.fixture
def evaluator():
    return thirds_evaluator()


def test_all_metrics_are_1_for_correct_classes(evaluator):
    trained = sampling(ThirdsGenerator(), ClassConditional())
    result = class_conditioning.diagnose(trained, evaluator)
    assert result.metrics["conditional_accuracy"] == 1
    assert result.metrics["classification_accuracy_score"] == 1
    assert result.metrics["real_data_accuracy"] == 1
    assert set(result.table) == set(NAMES)
    assert not result.warnings


def test_exchanged_classes_lower_both_accuracies_and_give_a_warning(evaluator):
    trained = sampling(ThirdsGenerator((1, 0, 2)), ClassConditional())
    result = class_conditioning.diagnose(trained, evaluator)
    assert result.metrics["conditional_accuracy"] == pytest.approx(1 / 3)
    third = float((evaluator.test.labels == 2).double().mean())
    assert result.metrics["classification_accuracy_score"] == pytest.approx(third)
    assert result.metrics["real_data_accuracy"] == 1
    assert result.table["right"]["conditional_accuracy"] == 1
    assert result.warnings == ["wrong class: 0% accuracy for left"]


def test_conditional_accuracy_counts_the_classes_that_the_classifier_recognizes(evaluator):
    """A generator whose third class looks like the first: two of three classes are correct."""
    trained = sampling(ThirdsGenerator((0, 1, 0)), ClassConditional())
    result = class_conditioning.diagnose(trained, evaluator)
    assert result.metrics["conditional_accuracy"] == pytest.approx(2 / 3)


def test_rows_keep_the_noise_and_columns_the_class():
    trained = sampling(ThirdsGenerator(), ClassConditional())
    images = class_conditioning.one_noise_per_row(trained, seed=0)
    assert images.shape == (8, 3, *THIRDS_SHAPE)
    assert thirds(images.flatten(0, 1)).argmax(1).tolist() == [0, 1, 2] * 8
    level = images.flatten(2).max(2).values
    assert torch.allclose(level, level[:, :1].expand(-1, 3))
    assert len(level[:, 0].unique()) == 8


def test_without_a_classifier_there_is_only_the_figure(evaluator):
    unlabelled = dataclasses.replace(
        evaluator,
        train=Split(evaluator.train.images),
        test=Split(evaluator.test.images),
        classifier=None,
    )
    trained = sampling(ThirdsGenerator(), ClassConditional())
    result = class_conditioning.diagnose(trained, unlabelled)
    assert not result.metrics
    assert [figure.name for figure in result.figures] == ["classes"]


def test_applies_to_class_conditional_models_only():
    assert class_conditioning.applies(ThirdsGenerator())
    assert class_conditioning.applies(ConditionalVAE((1, 2, 2), 3, noise_dim=2, hidden=[4]))
    assert not class_conditioning.applies(object())
    assert not class_conditioning.applies(VAE((1, 2, 2)))
