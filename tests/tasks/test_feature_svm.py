"""A linear SVM on features: against scikit-learn's, and on networks whose worth is known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from latentlab.contracts import LatentlabError
from latentlab.tasks import Context
from latentlab.tasks.feature_svm import FeatureSVM


class Half(nn.Module):
    """Features are the upper half of the image, or nothing but its mean."""

    latent_dim = 4

    def __init__(self, blind):
        super().__init__()
        self.blind = blind

    def features(self, x):
        return x.mean((1, 2, 3))[:, None] if self.blind else x[:, :, :4].flatten(1)


def asked(context, monkeypatch, **settings):
    trained = SimpleNamespace(name="gan", features=Half(blind=False).features)
    monkeypatch.setattr(Context, "fresh", lambda self: Half(blind=True))
    return FeatureSVM(**settings).run(replace(context, trained=trained))


def scikit_learns(train, test, count):
    x, x_test = (split.images[:, :, :4].flatten(1).double() / 255 for split in (train, test))
    scaler = StandardScaler().fit(x.numpy())
    machine = LinearSVC(C=100 / count, dual=False, tol=1e-8, intercept_scaling=1.0)
    machine.fit(scaler.transform(x.numpy()), train.labels.numpy())
    return machine.score(scaler.transform(x_test.numpy()), test.labels.numpy())


def test_what_was_learned_stands_beside_pixels_and_the_network_as_drawn(context, monkeypatch):
    finding = asked(context, monkeypatch)
    told = finding.numbers
    expected = scikit_learns(context.yard.train, context.yard.test, 500)
    assert told["trained_accuracy"] == pytest.approx(expected, abs=0.006), "one image of 200"
    assert told["untrained_accuracy"] < 0.3 < told["trained_accuracy"] < told["pixels_accuracy"]
    assert [row["numbers"] for row in finding.table.values()] == [64, 1, 32]


def test_no_more_images_are_read_than_asked_for(context, monkeypatch):
    few = asked(context, monkeypatch, images=40).numbers["pixels_accuracy"]
    assert few < asked(context, monkeypatch).numbers["pixels_accuracy"]


def test_it_needs_classes_and_possible_settings(unlabelled):
    with pytest.raises(LatentlabError, match="no classes"):
        FeatureSVM().run(unlabelled)
    with pytest.raises(LatentlabError, match="images is 1 and svm_c"):
        FeatureSVM(images=1)
    with pytest.raises(LatentlabError, match="positive weight"):
        FeatureSVM(svm_c=0.0)


def test_features_are_standardised_by_the_training_images_alone(context, monkeypatch):
    shifted = replace(context.yard.test, images=context.yard.test.images // 2)
    yard = SimpleNamespace(train=context.yard.train, test=shifted, meta=context.meta)
    dark = asked(replace(context, yard=yard), monkeypatch).numbers["pixels_accuracy"]
    assert dark < asked(context, monkeypatch).numbers["pixels_accuracy"]
    assert torch.equal(shifted.labels, context.yard.test.labels)
