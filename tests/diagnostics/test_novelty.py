"""Novelty of a model that samples chosen images: what is compared, and the gaps by hand."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import (
    CORRELATED_SHAPE,
    NAMES,
    THIRDS_SHAPE,
    correlated_evaluator,
    figure_inputs,
    thirds_evaluator,
)
from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float, to_uint8
from latentlab.diagnostics import novelty
from latentlab.metrics.fid.frechet import fid
from latentlab.models.vae import VAE
from latentlab.networks.mlp import MLP


def halving(samples, *, memory=None):
    """A TrainedModel that reconstructs x as x / 2, and samples the first of the images `samples`.

    Its loss is the mean intensity. `memory`: its training images, if it stores them.
    """
    module = SimpleNamespace(
        family="AE",
        latent_dim=1,
        device=torch.device("cpu"),
        encode=lambda x: x,
        decode=lambda z: z,
        features=lambda x: x,
        validation_step=lambda batch, index: {"loss": batch[0].mean()},
    )
    if memory is not None:
        module.memory = memory.flatten(1)
    return SimpleNamespace(
        module=module,
        has_encoder=True,
        is_conditional=False,
        image_shape=samples.shape[1:],
        sample=lambda count, *, seed, classes: samples[:count],
        reconstruct=lambda x: x / 2,
    )


@pytest.fixture
def evaluator():
    return correlated_evaluator()


def squared_error_and_loss(images):
    """Of x / 2, and the mean intensity."""
    x = to_float(images).double()
    return (x / 2).square().flatten(1).sum(1).mean().item(), x.mean().item()


def test_copies_of_training_images_have_a_warning_and_test_images_have_none(evaluator):
    train, test = to_float(evaluator.train.images), to_float(evaluator.test.images)
    copied = novelty.diagnose(halving(train[100:]), evaluator)
    assert copied.warnings == ["copies training images"]
    assert copied.metrics["authenticity"] == 0
    assert copied.metrics["nearer_train_fraction"] == 1
    assert "79% are expected" in copied.summary  # 300 / (300 + 80)
    samples, neighbours = figure_inputs(copied, "nearest")
    assert torch.equal(samples, train[100:110])
    assert torch.equal(neighbours, samples)
    honest = novelty.diagnose(halving(test.flip(3)), evaluator)
    assert honest.warnings == []


def test_the_fid_of_samples_is_to_as_many_training_as_test_images(evaluator):
    train, test = to_float(evaluator.train.images), to_float(evaluator.test.images)
    fake = torch.rand(80, *CORRELATED_SHAPE, generator=torch.Generator().manual_seed(0))
    found = novelty.diagnose(halving(fake), evaluator).table["FID of samples"]
    expected = {
        "training images": fid(train[:80].flatten(1), fake.flatten(1)),
        "test images": fid(test.flatten(1), fake.flatten(1)),
    }
    assert found == pytest.approx(expected)


def test_samples_are_compared_with_as_many_test_images(evaluator):
    few = replace(evaluator, settings=EvaluationSettings(num_samples=50))
    trained = halving(to_float(evaluator.test.images))
    assert "86% are expected" in novelty.diagnose(trained, few).summary  # 300 / (300 + 50)


def test_a_part_of_many_training_images_is_compared(evaluator, monkeypatch):
    monkeypatch.setattr(novelty, "MAX_TRAIN_IMAGES", 40)
    seen = novelty.training_images(halving(torch.zeros(1, *CORRELATED_SHAPE)), evaluator)
    assert torch.equal(seen.images, evaluator.train.some(40, seed=0).images)


@pytest.mark.parametrize("limit", [7, 2000])
def test_gaps_are_measured_on_equally_many_training_and_test_images(evaluator, monkeypatch, limit):
    monkeypatch.setattr(novelty, "MAX_IMAGES", limit)
    count = min(limit, 80)
    trained = halving(to_float(evaluator.test.images))
    table = novelty.gaps(trained, evaluator, evaluator.train, evaluator.test)
    assert list(table) == ["squared error", "loss"]
    for column, split in {
        "training images": evaluator.train,
        "test images": evaluator.test,
    }.items():
        error, loss = squared_error_and_loss(split.images[:count])
        assert table["squared error"][column] == pytest.approx(error, rel=1e-5)
        assert table["loss"][column] == pytest.approx(loss, rel=1e-5)


def test_a_model_that_stores_its_training_images_is_compared_with_these(evaluator):
    """20 images, less than the test split has: the gaps are of 20 images too."""
    memory = to_float(evaluator.train.images[50:70])
    trained = halving(memory.repeat(4, 1, 1, 1), memory=memory)
    seen = novelty.training_images(trained, evaluator)
    assert torch.equal(seen.images, evaluator.train.images[50:70])
    result = novelty.diagnose(trained, evaluator)
    assert result.metrics["nearer_train_fraction"] == 1
    assert "20% are expected" in result.summary  # 20 / (20 + 80)
    for column, images in {
        "training images": to_uint8(memory),
        "test images": evaluator.test.images[:20],
    }.items():
        error, loss = squared_error_and_loss(images)
        assert result.table["squared error"][column] == pytest.approx(error, rel=1e-5)
        assert result.table["loss"][column] == pytest.approx(loss, rel=1e-5)


def test_without_labels_a_loss_of_labelled_data_is_left_out():
    """A model of classes cannot compute its loss on stored images, whose labels are not known."""
    labelled = thirds_evaluator()
    assert labelled.dataset.classes == NAMES
    trained = halving(torch.rand(200, *THIRDS_SHAPE))
    seen, test = labelled.train, labelled.test
    assert list(novelty.gaps(trained, labelled, seen, test)) == ["squared error", "loss"]
    assert list(novelty.gaps(trained, labelled, Split(seen.images), test)) == ["squared error"]
    unlabelled = replace(labelled, classifier=None)
    splits = Split(seen.images), Split(test.images)
    assert list(novelty.gaps(trained, unlabelled, *splits)) == ["squared error", "loss"]


def test_without_an_encoder_there_is_no_squared_error(evaluator):
    trained = halving(to_float(evaluator.test.images))
    trained.has_encoder = False
    assert list(novelty.gaps(trained, evaluator, evaluator.train, evaluator.test)) == ["loss"]


def test_applies_to_every_model():
    assert novelty.applies(VAE(CORRELATED_SHAPE, network=MLP(hidden=[4])))
    assert not novelty.applies(torch.nn.Linear(1, 1))
