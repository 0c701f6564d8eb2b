"""A network with useful pretrained features beats the same network from scratch."""

import pytest
import torch
from torch import nn

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.evaluator import Evaluator
from latentlab.inference.trained import TrainedModel
from latentlab.tasks.common.context import Context
from latentlab.tasks.fine_tuning import FineTunedClassifier, FineTuning
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 4, 4)


class Body(nn.Module):
    """Two features: tanh of a linear function of the pixels."""

    latent_dim = 2

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def decode(self, z):
        return z

    def features(self, x):
        return torch.tanh(x.flatten(1) @ self.weight)


def images(count, seed):
    """Class 1 if the first pixel is brighter than the last pixel; all other pixels are noise."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=g)
    labels = (x[:, 0, 0, 0] > x[:, 0, 3, 3]).long()
    return Split(x, labels)


@pytest.fixture
def context(tmp_path):
    """The pretrained features use the two pixels that matter, the untrained features none."""
    settings = EvaluationSettings()
    counts = {"train": 300, "val": 1, "test": 400}
    dataset = DatasetInfo("two", SHAPE, ("no", "yes"), counts, (), 0, "0" * 64)
    evaluator = Evaluator(dataset, images(300, 0), images(400, 1), None, None, settings)
    good = torch.zeros(16, 2)
    good[0, 0], good[15, 0] = 4.0, -4.0
    known = TrainedModel("known", tmp_path, Body(good), None, SHAPE, settings, {})
    project = type("Project", (), {"seed": 0})()
    context = Context(project, evaluator, images(1, 2), known)
    object.__setattr__(context, "untrained_model", lambda: Body(torch.zeros(16, 2)))
    return context


def test_pretrained_features_win_and_the_trained_model_is_unchanged(context, tmp_path):
    before = context.trained.module.weight.detach().clone()
    task = FineTuning(num_labels=40, num_repeats=2, steps=60, steps_from_scratch=60, lr=3e-2)
    result = task.run(context)
    metrics = result.metrics
    assert metrics["fine_tuned_accuracy"] > 0.85
    assert metrics["probe_on_features_accuracy"] > 0.95
    assert metrics["from_scratch_accuracy"] < 0.75  # the gradient is 0 at tanh(0) with a zero head
    assert metrics["gain"] == pytest.approx(
        metrics["fine_tuned_accuracy"] - metrics["from_scratch_accuracy"]
    )
    assert not result.warnings
    assert torch.equal(context.trained.module.weight, before)
    for figure in result.figures:
        figure.save(tmp_path / f"{figure.name}.png")
    assert [figure.name for figure in result.figures] == ["gained"]


def test_no_gain_gives_a_warning(context):
    object.__setattr__(context.trained, "module", Body(torch.zeros(16, 2)))
    result = FineTuning(num_labels=40, num_repeats=1, steps=5, steps_from_scratch=5).run(context)
    assert result.warnings == ["pretraining did not help"]
    assert result.table["fine-tuned"]["std"] == 0


def test_classifier_is_linear_in_the_features():
    torch.manual_seed(0)
    classifier = FineTunedClassifier(Body(torch.randn(16, 2)), 2, 3)
    x = torch.rand(5, *SHAPE)
    assert torch.equal(classifier(x), classifier.head.bias.expand(5, 3))  # the head starts at 0
    nn.init.normal_(classifier.head.weight)
    expected = classifier.body.features(x) @ classifier.head.weight.T + classifier.head.bias
    assert torch.allclose(classifier(x), expected)


def test_images_without_labels_are_refused(context):
    unlabelled = Split(context.evaluator.train.images)
    object.__setattr__(context.evaluator, "train", unlabelled)
    with pytest.raises(LatentlabError, match="needs labels of two or more classes"):
        FineTuning().run(context)


@pytest.mark.parametrize("name", ["num_labels", "num_repeats", "steps", "steps_from_scratch"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(LatentlabError, match=f"{name} is 0: it must be ≥ 1"):
        FineTuning(**{name: 0})
