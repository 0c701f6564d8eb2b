"""Fine-tuning: a network that knows what matters beats the same one that must find it."""

import pytest
import torch
from torch import nn

from latentlab.config import EvaluationSettings
from latentlab.contracts import LatentlabError, Split
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.tasks import Context
from latentlab.tasks.finetuning import Classifier, FineTuning
from latentlab.trained import Trained

SHAPE = (1, 4, 4)


class Body(nn.Module):
    """Features are two numbers of the pixels through a narrow, fixed-size layer."""

    latent_dim = 2

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def decode(self, z):
        return z

    def features(self, x):
        return torch.tanh(x.flatten(1) @ self.weight)


def images(count, seed):
    """Class 1 where the first pixel is brighter than the last; the others are noise."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=g)
    labels = (x[:, 0, 0, 0] > x[:, 0, 3, 3]).long()
    return Split(x, labels)


@pytest.fixture
def context(tmp_path):
    """The pretrained body looks at the right two pixels, the fresh one nowhere."""
    settings = EvaluationSettings()
    counts = {"train": 300, "val": 1, "test": 400}
    meta = Meta("two", SHAPE, ("no", "yes"), counts, (), 0, "0" * 64)
    yard = Yardsticks(meta, images(300, 0), images(400, 1), None, None, settings)
    good = torch.zeros(16, 2)
    good[0, 0], good[15, 0] = 4.0, -4.0
    known = Trained("known", tmp_path, Body(good), None, SHAPE, settings, {})
    project = type("Project", (), {"seed": 0})()
    made = Context(project, meta, yard, images(1, 2), known)
    object.__setattr__(made, "fresh", lambda: Body(torch.zeros(16, 2)))
    return made


def test_pretrained_features_win_and_the_trained_model_stays_as_it_was(context, tmp_path):
    before = context.trained.module.weight.detach().clone()
    task = FineTuning(labels=40, draws=2, steps=60, scratch_steps=60, lr=3e-2)
    finding = task.run(context)
    numbers = finding.numbers
    assert numbers["fine_tuned_accuracy"] > 0.85
    assert numbers["probe_on_its_features_accuracy"] > 0.95
    assert numbers["from_scratch_accuracy"] < 0.75  # no gradient leaves tanh(0) and a zero head
    assert numbers["gain"] == pytest.approx(
        numbers["fine_tuned_accuracy"] - numbers["from_scratch_accuracy"]
    )
    assert not finding.flags
    assert torch.equal(context.trained.module.weight, before)
    for picture in finding.pictures:
        picture.draw(tmp_path / f"{picture.name}.png")
    assert [picture.name for picture in finding.pictures] == ["gained"]


def test_no_gain_is_flagged(context):
    object.__setattr__(context.trained, "module", Body(torch.zeros(16, 2)))
    finding = FineTuning(labels=40, draws=1, steps=5, scratch_steps=5).run(context)
    assert finding.flags == ["pretraining did not help"]
    assert finding.table["fine-tuned"]["spread"] == 0


def test_classifier_is_linear_in_the_features():
    torch.manual_seed(0)
    classifier = Classifier(Body(torch.randn(16, 2)), 2, 3)
    x = torch.rand(5, *SHAPE)
    assert torch.equal(classifier(x), classifier.head.bias.expand(5, 3))  # the head starts at 0
    nn.init.normal_(classifier.head.weight)
    expected = classifier.body.features(x) @ classifier.head.weight.T + classifier.head.bias
    assert torch.allclose(classifier(x), expected)


def test_images_without_labels_are_refused(context):
    blind = Split(context.yard.train.images)
    object.__setattr__(context.yard, "train", blind)
    with pytest.raises(LatentlabError, match="needs images with labels of two classes"):
        FineTuning().run(context)


@pytest.mark.parametrize("name", ["labels", "draws", "steps", "scratch_steps"])
def test_impossible_budgets_are_refused(name):
    with pytest.raises(LatentlabError, match=f"{name} is 0: it must be ≥ 1"):
        FineTuning(**{name: 0})
