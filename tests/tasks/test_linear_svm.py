"""A linear SVM on features, against scikit-learn and with features of known quality."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from latentlab.tasks.common.context import Context
from latentlab.tasks.linear_svm import LinearSVM
from latentlab.utils.errors import LatentlabError


class HalfImage(nn.Module):
    """Features are the upper half of the image, or only the mean of the image."""

    latent_dim = 4

    def __init__(self, mean_only):
        super().__init__()
        self.mean_only = mean_only

    def features(self, x):
        return x.mean((1, 2, 3))[:, None] if self.mean_only else x[:, :, :4].flatten(1)


def run_task(context, monkeypatch, **settings):
    module = HalfImage(mean_only=False)
    trained = SimpleNamespace(name="gan", module=module, features=module.features)
    monkeypatch.setattr(Context, "untrained_model", lambda self: HalfImage(mean_only=True))
    return LinearSVM(**settings).run(replace(context, trained=trained))


def accuracy_of_scikit_learn(train, test, count):
    x, x_test = (split.images[:, :, :4].flatten(1).double() / 255 for split in (train, test))
    scaler = StandardScaler().fit(x.numpy())
    machine = LinearSVC(C=100 / count, dual=False, tol=1e-8, intercept_scaling=1.0)
    machine.fit(scaler.transform(x.numpy()), train.labels.numpy())
    return machine.score(scaler.transform(x_test.numpy()), test.labels.numpy())


def test_trained_features_are_compared_with_pixels_and_the_untrained_network(context, monkeypatch):
    result = run_task(context, monkeypatch)
    metrics = result.metrics
    expected = accuracy_of_scikit_learn(context.evaluator.train, context.evaluator.test, 500)
    assert metrics["trained_accuracy"] == pytest.approx(expected, abs=0.006), "one image of 200"
    assert (
        metrics["untrained_accuracy"]
        < 0.3
        < metrics["trained_accuracy"]
        < metrics["pixels_accuracy"]
    )
    assert [row["num_features"] for row in result.table.values()] == [64, 1, 32]


def test_max_images_limits_the_training_images(context, monkeypatch):
    few = run_task(context, monkeypatch, max_images=40).metrics["pixels_accuracy"]
    assert few < run_task(context, monkeypatch).metrics["pixels_accuracy"]


def test_impossible_settings_and_missing_labels_are_refused(unlabelled):
    with pytest.raises(LatentlabError, match="the images have no labels"):
        LinearSVM().run(unlabelled)
    with pytest.raises(LatentlabError, match="max_images is 1 and svm_c is 100"):
        LinearSVM(max_images=1)
    with pytest.raises(LatentlabError, match="svm_c > 0"):
        LinearSVM(svm_c=0.0)


def test_features_are_standardized_by_the_training_images_only(context, monkeypatch):
    shifted = replace(context.evaluator.test, images=context.evaluator.test.images // 2)
    evaluator = SimpleNamespace(
        train=context.evaluator.train, test=shifted, dataset=context.dataset
    )
    dark = run_task(replace(context, evaluator=evaluator), monkeypatch).metrics["pixels_accuracy"]
    assert dark < run_task(context, monkeypatch).metrics["pixels_accuracy"]
    assert torch.equal(shifted.labels, context.evaluator.test.labels)
