"""InfoGAN codes of a model that recognizes its codes by construction."""

import pytest
import torch

from diagnostics.stand_ins import NUM_CLASSES, ThirdsGenerator, sampling, thirds, thirds_evaluator
from latentlab.contracts import Split
from latentlab.diagnostics import infogan_codes
from latentlab.evaluation.evaluator import Evaluator
from latentlab.samplers import InfoGANPrior


@pytest.fixture
def evaluator():
    return thirds_evaluator()


class ThirdsRecognizer(ThirdsGenerator):
    """Recognizes its codes too. The order of the categories differs from that of the classes."""

    num_categories, num_continuous, num_classes = NUM_CLASSES, 1, 0
    condition = None

    def recognize(self, x):
        return thirds(x)[:, self.order], x.mean((1, 2, 3), keepdim=False)[:, None]


def test_the_order_of_categories_does_not_matter(evaluator):
    model = ThirdsRecognizer((2, 0, 1))
    result = infogan_codes.diagnose(sampling(model, InfoGANPrior()), evaluator)
    assert result.metrics["category_error"] == 0
    assert list(result.table) == ["category 1: left", "category 2: middle", "category 0: right"]
    total = sum(row["images"] for row in result.table.values())
    assert total == len(evaluator.test)


def test_two_confused_classes_give_the_error_of_one_class(evaluator):
    model = ThirdsRecognizer()
    model.recognize = lambda x: (thirds(x) * torch.tensor([1.0, 1.0, 0.0]), x[:, 0, 0, :1])
    result = infogan_codes.diagnose(sampling(model, InfoGANPrior()), evaluator)
    # classes 0 and 2 are recognized as category 0, which is assigned to the more frequent of them
    lost = 2 if (evaluator.train.labels == 0).sum() > (evaluator.train.labels == 2).sum() else 0
    expected = float((evaluator.test.labels == lost).double().mean())
    assert result.metrics["category_error"] == pytest.approx(expected)


def test_without_labels_there_are_figures_but_no_metrics(evaluator):
    unlabelled = Split(evaluator.train.images), Split(evaluator.test.images)
    bare = Evaluator(evaluator.dataset, *unlabelled, thirds, None, evaluator.settings)
    result = infogan_codes.diagnose(sampling(ThirdsRecognizer(), InfoGANPrior()), bare)
    assert not result.metrics
    assert [figure.name for figure in result.figures] == ["categories", "continuous_1"]


def test_a_traversal_changes_one_code_only():
    model = ThirdsRecognizer()
    model.decode = lambda z: z[:, None, None, :].sigmoid()  # the image shows the code itself
    trained = sampling(model, InfoGANPrior())
    codes = infogan_codes.traversal(trained, [2, 0, 1], 0, seed=0).logit()[:, :, 0, 0]  # (K, S, D)
    steps = torch.linspace(-2, 2, infogan_codes.STEPS)
    assert torch.allclose(codes[0, :, 1], steps, atol=1e-4)
    assert torch.allclose(codes[:, :, 0], codes[0, 0, 0].expand(3, infogan_codes.STEPS))
    assert codes[:, 0, 2:].argmax(1).tolist() == [2, 0, 1]


def test_applies_to_models_that_recognize_codes_only():
    assert infogan_codes.applies(ThirdsRecognizer())
    assert not infogan_codes.applies(ThirdsGenerator())
