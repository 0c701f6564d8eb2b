"""GAN training compared with scipy, scikit-learn and networks whose gradients are known."""

import dataclasses
import math
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from torch import nn

from diagnostics.stand_ins import THIRDS_SHAPE, figure_inputs, save_figures, thirds
from latentlab.config import EvaluationSettings
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.diagnostics import gan_training
from latentlab.evaluation.evaluator import Evaluator
from latentlab.models.dcgan import DCGAN
from latentlab.models.gan import GAN
from latentlab.models.vae import VAE
from latentlab.models.wgan import WGAN
from latentlab.samplers import StandardNormal


def images(labels, seed):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(0, 90, (len(labels), *THIRDS_SHAPE), generator=generator)
    for row, label in enumerate(labels.tolist()):
        made[row, :, :, 2 * label : 2 * label + 2] += 150
    return made.to(torch.uint8)


def evaluator(classes=3):
    labels = torch.arange(90) % 3
    names = tuple("abc"[:classes]) if classes else None
    counts = {"train": 90, "val": 9, "test": 90}
    return Evaluator(
        DatasetInfo("toy", THIRDS_SHAPE, names, counts, (), 0, "0"),
        Split(images(labels, 0), labels),
        Split(images(labels, 1), labels),
        feature_extractor=lambda x: x.flatten(1),
        classifier=thirds if classes else None,
        settings=EvaluationSettings(),
    )


class LinearGAN(nn.Module):
    """D(x) = d · Σ pixels, and D(G(z)) = d · g z: both gradients are known."""

    latent_dim, decision_threshold = 1, 0.0

    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(1, 1, bias=False)
        self.discriminator = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.generator.weight.fill_(3.0)
            self.discriminator.weight.fill_(2.0)

    def real_logits(self, x, y):
        return self.discriminator(x.sum((1, 2, 3))[:, None]).squeeze(1)

    def fake_logits(self, z):
        return self.discriminator(self.generator(z)).squeeze(1)

    def adversarial_losses(self, x, y, z):
        fake = self.fake_logits(z)
        return fake.mean() - self.real_logits(x, y).mean(), -fake.mean()


def generating(labels_of):
    """A TrainedModel that decodes code i to an image of class `labels_of(i)`."""
    return SimpleNamespace(
        module=LinearGAN(),
        sample_latents=lambda count, seed: torch.ones(count, 1),
        decode=lambda z: images(labels_of(torch.arange(len(z))), 0).float() / 255,
    )


def metrics(**changes):
    healthy = {
        "modes_covered": 3.0,
        "feature_variance_ratio": 1.0,
        "d_accuracy_train": 0.6,
        "d_accuracy_fake": 0.6,
        "g_gradient_norm": 1.0,
    }
    return {**healthy, **changes}


def test_class_kl_equals_that_of_scipy():
    q, p = torch.tensor([0.7, 0.3, 0.0]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    assert gan_training.class_kl(q, p) == pytest.approx(entropy(q.numpy(), p.numpy()))
    assert gan_training.class_kl(p, p) == pytest.approx(0)
    new, old = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])  # a class that the data lack
    expected = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-6)
    assert gan_training.class_kl(new, old) == pytest.approx(expected)


def test_a_generator_of_one_class_covers_one_class_with_a_kl_of_log_3():
    fakes = images(torch.zeros(90, dtype=torch.int64), 2).float() / 255
    found, fractions = gan_training.class_coverage(evaluator(), fakes)
    assert found["modes_covered"] == 1
    assert found["class_kl_nats"] == pytest.approx(math.log(3))
    assert fractions["generated"].tolist() == [1, 0, 0]
    assert 0 < found["feature_variance_ratio"] < 0.5


def test_a_class_is_covered_from_a_tenth_of_its_fraction():
    labels = torch.tensor([0] * 58 + [1] * 30 + [2] * 2)  # 2 of 90 is below a tenth of a third
    found, _ = gan_training.class_coverage(evaluator(), images(labels, 3).float() / 255)
    assert found["modes_covered"] == 2
    labels = torch.tensor([0] * 57 + [1] * 30 + [2] * 3)
    found, _ = gan_training.class_coverage(evaluator(), images(labels, 3).float() / 255)
    assert found["modes_covered"] == 3


def test_noise_covers_no_class():
    """A classifier gives a class to noise too: only realistic images count."""
    shape = (90, *evaluator().dataset.image_shape)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    predicted = evaluator().classifier(noise).argmax(1)
    assert len(predicted.unique()) == 3, "the classifier finds every class in noise"
    found, _ = gan_training.class_coverage(evaluator(), noise)
    assert found["modes_covered"] == 0
    assert gan_training.find_warnings(metrics(modes_covered=0.0), 3) == [
        "not realistic: hardly any generated image lies near a real one"
    ]


def test_a_class_that_the_data_do_not_have_is_not_counted():
    labels = torch.arange(90) % 2
    two_classes = dataclasses.replace(evaluator(), test=Split(images(labels, 1), labels))
    result = gan_training.diagnose(generating(lambda i: i % 2), two_classes)
    assert result.metrics["modes_covered"] == 2
    assert result.warnings == []
    result = gan_training.diagnose(generating(lambda i: i % 2 * 2), two_classes)
    assert result.metrics["modes_covered"] == 1, "the third class is not in the data"
    assert "mode collapse: 1 of 2 classes are covered" in result.warnings


def test_variance_ratio_is_that_of_total_variances_and_needs_no_classes():
    unlabelled = evaluator(classes=0)
    real = unlabelled.test.images.float() / 255
    found, fractions = gan_training.class_coverage(unlabelled, real * 0.5)
    assert found == {"feature_variance_ratio": pytest.approx(0.25)}
    assert fractions == {}


def test_discrimination_equals_counts_and_the_auroc_of_scikit_learn():
    logits = {k: torch.randn(40) + m for k, m in (("test", 0.5), ("train", 1.0), ("fake", -0.5))}
    found = gan_training.discrimination(logits, 0.0)
    truth = [1] * 40 + [0] * 40
    scores = torch.cat([logits["test"], logits["fake"]])
    assert found["d_auroc"] == pytest.approx(roc_auc_score(truth, scores.numpy()))
    assert found["d_accuracy_test"] == sum(s > 0 for s in logits["test"].tolist()) / 40
    assert found["d_accuracy_train"] == sum(s > 0 for s in logits["train"].tolist()) / 40
    assert found["d_accuracy_fake"] == sum(s <= 0 for s in logits["fake"].tolist()) / 40


@pytest.mark.parametrize("count", [1, 90, 500, 501, 1001, 2000])
def test_batches_are_equally_large(count):
    """The logits of a small rest would be normalized by the statistics of few images."""
    sizes = [len(part) for part in torch.zeros(count).split(gan_training.batch_size(count))]
    assert sum(sizes) == count
    assert max(sizes) <= 500
    assert max(sizes) - min(sizes) <= len(sizes)


def test_the_threshold_of_a_critic_is_the_middle_of_its_mean_scores():
    scores = {
        "test": torch.tensor([8.0, 5.1, 4.9, 3.0]),
        "train": torch.tensor([14.0, 4.0]),
        "fake": torch.tensor([1.0, 1.0]),
    }  # the middle of 9 and 1 is 5
    assert gan_training.discrimination(scores, None) == {
        "d_accuracy_test": 0.5,
        "d_accuracy_train": 0.5,
        "d_accuracy_fake": 1,
        "d_auroc": 1,
    }


def test_a_logit_at_the_threshold_is_called_fake_and_a_tie_counts_half_in_the_auroc():
    logits = {
        "test": torch.tensor([0.0, 1.0]),
        "train": torch.tensor([-1.0, 0.0, 0.0, 1.0]),
        "fake": torch.tensor([0.0, 1.0]),
    }
    assert gan_training.discrimination(logits, 0.0) == {
        "d_accuracy_test": 1 / 2,
        "d_accuracy_train": 1 / 4,
        "d_accuracy_fake": 1 / 2,
        "d_auroc": (1 + 2 / 2) / 4,  # of four pairs, one is won, two are ties
    }


def test_gradient_norms_equal_the_closed_form():
    """∂(d Σ z g − d Σ x)/∂d = g z̄ − x̄ and ∂(−d g z)/∂g = −d z̄."""
    codes = torch.tensor([[1.0], [3.0]])
    trained = SimpleNamespace(module=LinearGAN(), sample_latents=lambda count, seed: codes)
    real = Split(torch.full((2, *THIRDS_SHAPE), 255, dtype=torch.uint8))
    with torch.no_grad():  # as its caller may have it
        found = gan_training.gradient_norms(trained, real, 0)
    assert found["d_gradient_norm"] == pytest.approx(abs(3 * 2 - 36))
    assert found["g_gradient_norm"] == pytest.approx(2 * 2)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"modes_covered": 2.0}, "mode collapse: 2 of 3 classes are covered"),
        ({"feature_variance_ratio": 0.3}, "mode collapse: the feature variance ratio is 0.30"),
        (
            {"d_accuracy_train": 1.0, "d_accuracy_fake": 0.96},
            "discriminator too strong: its accuracy is 96%",
        ),
        ({"g_gradient_norm": 2e-5}, "vanishing gradient of the generator: its norm is 2e-05"),
    ],
)
def test_each_failure_has_its_warning(changes, warning):
    assert gan_training.find_warnings(metrics(), 3) == []
    all_fake = metrics(d_accuracy_fake=0.99)  # D calls every image fake: it is not too strong
    assert gan_training.find_warnings(all_fake, 3) == []
    limits = metrics(
        feature_variance_ratio=0.5,
        d_accuracy_train=0.95,
        d_accuracy_fake=0.95,
        g_gradient_norm=1e-3,
    )
    assert gan_training.find_warnings(limits, 3) == []
    assert gan_training.find_warnings(metrics(**changes), 3) == [warning]


def test_applies_to_every_gan_and_to_no_autoencoder():
    settings = {"prior": StandardNormal(), "latent_dim": 4}
    gans = [DCGAN((1, 8, 8), **settings), GAN((1, 8, 8), **settings), WGAN((1, 8, 8), **settings)]
    assert all(gan_training.applies(gan) for gan in gans)
    assert not gan_training.applies(VAE((1, 8, 8)))


@pytest.mark.parametrize("classes", [3, 0])
def test_figures_of_the_whole_diagnostic(classes, tmp_path):
    result = gan_training.diagnose(generating(lambda i: i % 3), evaluator(classes))
    assert result.warnings == []
    assert list(save_figures(result, tmp_path)) == (["classes"] if classes else []) + ["logits"]


def test_logits_are_of_the_first_images_of_each_split_and_of_as_many_codes(monkeypatch):
    """D(x) = 2 Σ x and D(G(z)) = 6 z."""
    monkeypatch.setattr(gan_training, "MAX_IMAGES", 40)
    made = evaluator()
    trained, seeds = generating(lambda i: i % 3), []
    trained.sample_latents = lambda count, seed: (
        seeds.append((count, seed)) or torch.arange(float(count))[:, None]
    )
    result = gan_training.diagnose(trained, made)
    assert seeds == [(40, 0), (90, 0)]  # and those of the gradients
    (logits,) = figure_inputs(result, "logits")
    for name, split in {"test": made.test, "train": made.train}.items():
        expected = 2 * split.images[:40].double().sum((1, 2, 3)) / 255
        assert logits[name].tolist() == pytest.approx(expected.tolist())
    assert logits["fake"].tolist() == [6.0 * code for code in range(40)]
    fractions, names = figure_inputs(result, "classes")
    assert fractions["data"].tolist() == pytest.approx([14 / 40, 13 / 40, 13 / 40])
    assert names == ("a", "b", "c")


@pytest.fixture
def axes(monkeypatch):
    """Records what is drawn in a chart."""
    drawn = MagicMock()
    chart = MagicMock()
    chart.return_value.__enter__.return_value = drawn
    monkeypatch.setattr(gan_training, "chart", chart)
    return drawn


def test_bars_of_a_class_stand_on_both_sides_of_its_name(axes, tmp_path):
    data, generated = torch.tensor([0.7, 0.3]), torch.tensor([0.1, 0.9])
    fractions = {"data": data, "generated": generated}
    gan_training.plot_fractions(fractions, ("long class name", "b"), tmp_path / "it.png")
    (ticks, names), _ = axes.set_xticks.call_args
    assert ticks.tolist() == [0, 1]
    assert names == ["long cla", "b"]
    for call, values, side in zip(axes.bar.call_args_list, (data, generated), (-1, 1), strict=True):
        centers, heights, width = call.args
        assert torch.equal(torch.from_numpy(heights), values)
        assert centers.tolist() == pytest.approx([0.2 * side, 1 + 0.2 * side])
        assert 0 < width < 0.4, "there is a gap between the bars"
    colors = {call.kwargs["color"] for call in axes.bar.call_args_list}
    assert len(colors) == 2


def test_histograms_of_logits_have_one_range_without_the_outer_half_percents(axes, tmp_path):
    values = torch.arange(1002.0)[torch.randperm(1002)]
    logits = dict(zip(("test", "train", "fake"), values.split(334), strict=True))
    gan_training.plot_logits(logits, tmp_path / "it.png")
    labels = ("test images", "training images", "generated images")
    for call, part, label in zip(axes.hist.call_args_list, logits.values(), labels, strict=True):
        assert torch.equal(torch.from_numpy(call.args[0]), part)
        assert list(call.kwargs["range"]) == pytest.approx([0.005 * 1001, 0.995 * 1001])
        assert call.kwargs["label"] == label
    assert len({call.kwargs["color"] for call in axes.hist.call_args_list}) == 3


def test_equal_logits_can_be_drawn(tmp_path):
    logits = dict.fromkeys(("test", "train", "fake"), torch.full((9,), 0.3))
    gan_training.plot_logits(logits, tmp_path / "it.png")
    assert (tmp_path / "it.png").stat().st_size > 0


def test_the_gradient_norm_is_that_of_all_weights_of_tensors_of_different_shapes():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    x = torch.rand(5, 3)
    found = gan_training._gradient_norm(network(x).square().sum(), network)
    network(x).square().sum().backward()
    expected = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    assert found == pytest.approx(float(expected), rel=1e-5)
