"""The Evaluator of a project."""

import dataclasses

import pytest
import torch

import latentlab
from latentlab.config import load_project
from latentlab.evaluation import setup
from latentlab.evaluation.setup import UntrainedFeatures, make_evaluator, untrained
from latentlab.metrics.fid.features import extract
from latentlab.models.classifier import Classifier


@pytest.fixture(scope="module")
def classifier(tiny):
    return latentlab.load("classifier", project=tiny.root).module


@pytest.fixture
def evaluator(tiny, classifier):
    return make_evaluator(load_project(tiny.root), classifier)


def test_two_spaces_in_one_pass_are_those_of_one_pass_each(evaluator, classifier):
    images = evaluator.test.first(20)
    main, last = evaluator.spaces(images)
    torch.testing.assert_close(main, extract(evaluator.feature_extractor, images))
    torch.testing.assert_close(last, extract(classifier.features, images))


def test_an_untrained_copy_has_the_weights_of_a_new_classifier():
    torch.manual_seed(5)
    trained = Classifier((1, 8, 8), num_classes=10, width=4)
    torch.manual_seed(0)
    new = Classifier((1, 8, 8), num_classes=10, width=4)
    state = torch.get_rng_state()
    copy = untrained(trained)
    assert torch.equal(torch.get_rng_state(), state), "the generator of the stage is left alone"
    for name, value in new.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value), name


def test_the_untrained_network_is_made_at_its_first_use(evaluator, classifier, monkeypatch):
    made = []

    def counted(module):
        made.append(module)
        return untrained(module)

    monkeypatch.setattr(setup, "untrained", counted)
    features = UntrainedFeatures(classifier, "cpu")
    assert made == []
    found = extract(features, evaluator.test.first(30))
    assert made == [classifier]
    torch.testing.assert_close(
        found, extract(untrained(classifier).local_features, evaluator.test.first(30))
    )
    extract(features, evaluator.test.first(3))
    assert len(made) == 1
    assert isinstance(evaluator.random_features, UntrainedFeatures)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_classifier_needs_two_classes(count, tiny, classifier, monkeypatch):
    read = setup.read_meta
    some = lambda folder: dataclasses.replace(read(folder), classes=("a", "b")[:count])  # noqa: E731
    monkeypatch.setattr(setup, "read_meta", some)
    found = make_evaluator(load_project(tiny.root), classifier)
    parts = (found.classifier, found.both_features, found.random_features)
    assert [part is not None for part in parts] == [count == 2] * 3
    assert found.class_width == (classifier.head.in_features if count == 2 else 0)
