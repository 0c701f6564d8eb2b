from copy import copy
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from latentlab.contracts import Split
from latentlab.tasks.anomaly_detection import (
    AnomalyDetection,
    auroc_by_class,
    common_classes_first,
    extreme_images,
    roc_chart,
)
from latentlab.utils.errors import LatentlabError


@pytest.fixture(scope="module")
def result(context):
    return AnomalyDetection(hidden=32, steps=60, num_classes=3).run(context)


def test_each_class_is_normal_once_against_all_others(result, context):
    assert set(result.table) == {"PCA", "autoencoder"}
    for row in result.table.values():
        assert list(row) == ["mean", "0", "1", "2"]
        assert row["mean"] == pytest.approx(sum(row[name] for name in "012") / 3)
        assert row["mean"] > 0.8, "digits are easy to separate"
    assert result.metrics["autoencoder_auroc_mean"] == result.table["autoencoder"]["mean"]


def test_auroc_is_that_of_scikit_learn(context):
    labels = context.evaluator.test.labels
    scores = torch.rand(len(labels), 2, generator=torch.Generator().manual_seed(0))
    by_class = auroc_by_class(scores, labels, ("a", "b"))
    for label, name in enumerate("ab"):
        expected = roc_auc_score((labels != label).numpy(), scores[:, label].numpy())
        assert by_class[name] == pytest.approx(expected)


def test_figures_have_the_highest_normal_and_the_lowest_other_scores(context):
    test = context.evaluator.test
    scores = torch.arange(len(test)).float()[:, None]
    own = (test.labels == 0).nonzero().flatten()
    others = (test.labels != 0).nonzero().flatten()
    rows = extreme_images(scores, test, normal=True)[0] * 255
    torch.testing.assert_close(rows, test.images[own.flip(0)[:10]].float())
    rows = extreme_images(scores, test, normal=False)[0] * 255
    torch.testing.assert_close(rows, test.images[others[:10]].float())


def test_the_row_of_a_rare_class_is_filled_with_black(context):
    labels = context.evaluator.test.labels.clone()
    rare = (labels == 0).nonzero().flatten()
    labels[rare[4:]] = 1
    test = Split(context.evaluator.test.images, labels)
    rows = extreme_images(torch.arange(len(test)).float()[:, None], test, normal=True)[0] * 255
    torch.testing.assert_close(rows[:4], test.images[rare[:4].flip(0)].float())
    assert rows.shape[0] == 10
    assert not rows[4:].any()


def test_a_perfect_ranking_has_a_true_positive_rate_of_one():
    curve = roc_chart(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([False, True, True]), "x")
    assert set(curve.y) == {1.0}
    assert (curve.x[0], curve.x[-1]) == (0.0, 1.0)


def test_figures_are_saved(result, save_figures):
    assert set(save_figures(result)) == {
        "roc",
        "highest_normal",
        "lowest_anomalies",
        "reconstructions",
    }


def test_data_without_classes_are_refused(unlabelled):
    with pytest.raises(LatentlabError, match="the images have no labels"):
        AnomalyDetection().run(unlabelled)


def test_a_class_without_test_images_is_left_out_and_named(context):
    """Class 0 has no test image. All others keep their scores."""
    all_test = context.evaluator.test
    test = Split(all_test.images[all_test.labels != 0], all_test.labels[all_test.labels != 0])
    renumbered, order, count = common_classes_first(context.evaluator.train, test, 10)
    assert order == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert count == 9
    assert torch.equal(torch.tensor(order)[renumbered.labels], test.labels)
    evaluator = copy(context.evaluator)
    evaluator.test = test
    result = AnomalyDetection(hidden=8, steps=2, num_classes=2).run(
        replace(context, evaluator=evaluator)
    )
    assert list(result.table["PCA"]) == ["mean", "1", "2"]
    assert result.summary.endswith("Left out, without training or test images: 0.")


def test_without_a_class_that_can_be_normal_there_is_an_error(context):
    test = context.evaluator.test
    one = Split(test.images[test.labels == 3], test.labels[test.labels == 3])
    with pytest.raises(LatentlabError, match="none of 10 classes has training images, test"):
        common_classes_first(context.evaluator.train, one, 10)
