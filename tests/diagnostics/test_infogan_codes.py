"""InfoGAN codes of a model that recognizes its codes by construction."""

from dataclasses import replace

import pytest
import torch

from diagnostics.stand_ins import (
    NUM_CLASSES,
    ThirdsGenerator,
    figure_inputs,
    sampling,
    thirds,
    thirds_evaluator,
)
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
        assert not torch.is_grad_enabled()
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
    counts = torch.bincount(evaluator.test.labels, minlength=3).tolist()
    kept = 2 - lost  # of the classes 0 and 2, the one of category 0
    both = counts[0] + counts[2]
    rows = {name.split(":")[0]: row for name, row in result.table.items()}
    assert rows["category 0"] == {
        "images": both,
        "class_fraction": pytest.approx(counts[kept] / both),
    }
    assert rows["category 1"] == {"images": counts[1], "class_fraction": 1}
    assert rows["category 2"] == {"images": 0, "class_fraction": 0}


def test_a_category_without_a_class_is_always_wrong(evaluator):
    """Four categories. The fourth has the darker images of each class, fewer than half of it."""
    model = ThirdsRecognizer()
    model.num_categories = 4
    model.recognize = lambda x: (
        torch.cat([thirds(x), torch.where(thirds(x).amax(1, keepdim=True) < 0.602, 9.0, 0.0)], 1),
        x[:, 0, 0, :1],
    )
    prior = InfoGANPrior()
    trained = sampling(model, prior)
    model.decode = lambda z: torch.zeros(len(z), 1, 6, 6)
    model.latent_dim = 6
    prior.num_classes = 4
    result = infogan_codes.diagnose(trained, evaluator)
    dark = evaluator.test.images.flatten(1).amax(1) < 0.602 * 255
    assert result.metrics["category_error"] == pytest.approx(float(dark.double().mean()))
    names = [f"category {k}: {name}" for k, name in enumerate(("left", "middle", "right", "–"))]
    assert list(result.table) == names
    assert result.table["category 3: –"] == {"images": int(dark.sum()), "class_fraction": 0}


def test_the_first_training_images_decide_the_assignment(evaluator, monkeypatch):
    monkeypatch.setattr(infogan_codes, "MAX_ASSIGNMENT_IMAGES", 5)
    labels = evaluator.train.labels.clone()
    labels[5:] = (labels[5:] + 1) % 3  # wrong, but not read
    labels[:3] = torch.arange(3)
    images = evaluator.train.images.clone()
    images[:3] = torch.stack([images[evaluator.train.labels == k][0] for k in range(3)])
    few = replace(evaluator, train=Split(images, labels))
    result = infogan_codes.diagnose(sampling(ThirdsRecognizer(), InfoGANPrior()), few)
    assert result.metrics["category_error"] == 0


@pytest.mark.parametrize("labelled", ["neither", "train", "test"])
def test_without_labels_there_are_figures_but_no_metrics(evaluator, labelled):
    splits = [
        split if name == labelled else Split(split.images)
        for name, split in (("train", evaluator.train), ("test", evaluator.test))
    ]
    bare = Evaluator(evaluator.dataset, *splits, thirds, None, evaluator.settings)
    result = infogan_codes.diagnose(sampling(ThirdsRecognizer(), InfoGANPrior()), bare)
    assert not result.metrics
    assert [figure.name for figure in result.figures] == ["categories", "continuous_1"]


def test_a_traversal_changes_one_code_only():
    model = ThirdsRecognizer()
    model.decode = lambda z: z[:, None, None, :].sigmoid()  # the image shows the code itself
    trained = sampling(model, InfoGANPrior())
    codes = infogan_codes.traversal(trained, [2, 0, 1], 0, seed=0).logit()[:, :, 0, 0]  # (K, S, D)
    steps = torch.linspace(-2, 2, infogan_codes.STEPS)
    assert torch.allclose(codes[:, :, 1], steps.expand(3, -1), atol=1e-4)
    assert codes[0, infogan_codes.STEPS // 2, 1].abs() < 1e-6  # the code in the middle is 0
    assert torch.allclose(codes[:, :, 0], codes[0, 0, 0].expand(3, infogan_codes.STEPS))
    assert codes[:, 0, 2:].argmax(1).tolist() == [2, 0, 1]


def test_applies_to_models_that_recognize_codes_only():
    assert infogan_codes.applies(ThirdsRecognizer())
    assert not infogan_codes.applies(ThirdsGenerator())


def test_each_continuous_code_has_a_figure_that_changes_it():
    """Two continuous codes. The image shows the code itself, z = 3 noise, 2 codes, 3 categories."""
    model = ThirdsRecognizer()
    model.num_continuous, model.latent_dim = 2, 8
    model.decode = lambda z: z[:, None, None, :].sigmoid()
    trained, evaluator = sampling(model, InfoGANPrior()), thirds_evaluator()
    model.recognize = lambda x: (thirds(x), x[:, 0, 0, :2])
    result = infogan_codes.diagnose(trained, evaluator)
    start = trained.sample_latents(1, seed=0)[0]
    for index in range(2):
        (images,) = figure_inputs(result, f"continuous_{index + 1}")
        codes = images.logit()[:, :, 0, 0]  # (K, S, D)
        assert f"code {index + 1} " in result.figures[1 + index].caption
        assert torch.allclose(codes[:, :, :3], start[:3].expand(3, 11, 3), atol=1e-4)
        assert torch.allclose(codes[0, :, 3 + index], torch.linspace(-2, 2, 11), atol=1e-4)
        assert codes[:, :, 4 - index].abs().max() < 1e-6
    (images,) = figure_inputs(result, "categories")
    codes = images.logit()[:, :, 0, 0]  # (R, K, D)
    noise = trained.sample_latents(8, seed=0)
    assert torch.allclose(codes[:, :, :5], noise[:, None, :5].expand(8, 3, 5), atol=1e-4)
    assert torch.equal(images[:, :, 0, 0, 5:].argmax(2), torch.arange(3).expand(8, 3))
