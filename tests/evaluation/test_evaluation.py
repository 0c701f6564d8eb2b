"""Leaks between splits, with splits that differ grossly, and the mode of the networks."""

from dataclasses import replace

import pytest
import torch

import latentlab
from latentlab.config import EvaluationSettings, load_project
from latentlab.contracts import Split, to_float
from latentlab.data.prepared import DatasetInfo, read_split
from latentlab.evaluation.baselines import score_baselines
from latentlab.evaluation.evaluate import evaluate
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.reference import Reference, load_reference
from latentlab.evaluation.setup import make_evaluator
from latentlab.metrics.fid.features import extract
from latentlab.metrics.pca import PCA


@pytest.fixture(scope="module")
def classifier(tiny):
    return latentlab.load("classifier", project=tiny.root).module


@pytest.fixture(scope="module")
def evaluator(tiny, classifier):
    return make_evaluator(load_project(tiny.root), classifier)


@pytest.fixture(scope="module")
def reference(tiny):
    return load_reference(tiny.root / "data" / "reference" / "reference.pt")


def black(split):
    return Split(torch.zeros_like(split.images), split.labels)


def with_other_labels(split):
    """The images of a split, each with the label of the next class."""
    return Split(split.images, (split.labels + 1) % 10)


def values(metrics):
    """All metrics, nested ones by dotted names, without the probe."""
    found = {}
    for name, value in metrics.items():
        parts = values(value) if isinstance(value, dict) else {"": value}
        found |= {f"{name}.{key}": each for key, each in parts.items()}
    return {name: value for name, value in found.items() if "probe" not in name}


def test_training_images_change_the_probe_of_a_model_and_nothing_else(tiny, evaluator, reference):
    """A probe fitted to labels of the next class is always wrong, unless it is fitted to others."""
    project = load_project(tiny.root)
    vae = replace(latentlab.load("vae", project=tiny.root), evaluation=project.evaluation)
    before, _ = evaluate(vae, evaluator, reference)
    other = replace(evaluator, train=with_other_labels(evaluator.train))
    after, _ = evaluate(vae, other, reference)
    assert before["probe_accuracy"] > 0.7
    assert after["probe_accuracy"] < 0.1
    dark, _ = evaluate(vae, replace(evaluator, train=black(evaluator.train)), reference)
    assert values(after) == values(before)
    assert values(dark) == values(before)


def test_test_images_change_the_objective_and_the_reconstructions(tiny, evaluator, reference):
    """The VAE's own terms for black images, and nothing of the training images."""
    project = load_project(tiny.root)
    vae = replace(latentlab.load("vae", project=tiny.root), evaluation=project.evaluation)
    dark, _ = evaluate(vae, replace(evaluator, test=black(evaluator.test)), reference)
    x = torch.zeros(len(evaluator.test), *evaluator.dataset.image_shape)
    with torch.no_grad():
        mu, logvar = vae.module.posterior(x)
    kl = (mu.square() + logvar.exp() - logvar - 1).sum(1).mean() / 2
    assert dark["test"]["kl_nats"] == pytest.approx(float(kl), rel=1e-4)
    sse = (vae.reconstruct(x) - x).square().sum((1, 2, 3)).mean()
    assert dark["reconstruction_sse"] == pytest.approx(float(sse), rel=1e-4)


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_reference_has_features_of_both_splits_at_their_places(evaluator, reference, name):
    split = getattr(evaluator, name)
    found = replace(evaluator, **{name: black(split)}).reference(reference.pca)
    features = {"train": found.train, "test": found.real}
    for key, rows in features.items():
        assert torch.allclose(rows, rows[:1], atol=1e-5) == (key == name)


def test_pca_is_fitted_to_the_training_images(evaluator, reference):
    train, test = (to_float(s.images).double().mean(0) for s in (evaluator.train, evaluator.test))
    torch.testing.assert_close(reference.pca.mean, train.flatten(), atol=1e-6, rtol=0)
    assert (train - test).abs().max() > 1e-3


def test_the_best_values_to_expect_are_those_of_training_images(tiny, evaluator, reference):
    """If they are black, they are far from the test images, and a probe learns nothing."""
    val = read_split(load_project(tiny.root).prepared, "val")
    scores = score_baselines(replace(evaluator, train=black(evaluator.train)), reference, val)
    assert scores["real"]["fid"] > scores["pca_gaussian"]["fid"]
    assert scores["real"]["precision"] == 0
    assert scores["pixels"]["probe_accuracy"] < 0.2
    assert scores["real"]["classifier_accuracy"] > 0.5, "on test images"


def test_the_classifier_is_in_evaluation_mode(tiny, classifier):
    """Its batch normalization has fixed statistics, so features are those of one image."""
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    evaluator = make_evaluator(load_project(tiny.root), classifier.train())
    x = evaluator.test.first(20)
    both = evaluator.both_features
    for function in (evaluator.feature_extractor, evaluator.classifier, both):
        many, one = extract(function, x), extract(function, x.first(1))
        torch.testing.assert_close(many[:1], one, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(state[name], value) for name, value in classifier.state_dict().items())


def test_the_codes_of_pca_are_sampled_with_the_deviations_of_the_components():
    """Variances of 0.01 and less: with these as deviations, samples would hardly differ."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(400, 4, generator=generator) * torch.tensor([0.1, 0.05, 0.02, 0.01])
    images = (255 * (0.5 + codes)).round().to(torch.uint8).view(400, 1, 2, 2)
    split, samples = Split(images), []

    def recorded(x):
        samples.append(x)
        return x.flatten(1)

    dataset = DatasetInfo("toy", (1, 2, 2), None, {"train": 400, "val": 1, "test": 400}, (), 0, "0")
    evaluator = Evaluator(dataset, split, split, recorded, None, EvaluationSettings())
    pca, real = PCA.fit(split), to_float(images).flatten(1)
    evaluator.score_pca(Reference(real, None, None, real, pca), 4)
    found = pca.encode(torch.cat(samples)[:400]).var(0).double()
    torch.testing.assert_close(found, pca.variances, rtol=0.25, atol=0)
