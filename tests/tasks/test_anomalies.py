import pytest
import torch
from sklearn.metrics import roc_auc_score

from latentlab.contracts import LatentlabError, Split
from latentlab.tasks.anomalies import Anomalies, areas, extremes, roc


@pytest.fixture(scope="module")
def finding(context):
    return Anomalies(hidden=32, steps=60, classes=3).run(context)


def test_each_class_plays_the_normal_one_against_all_others(finding, context):
    assert set(finding.table) == {"PCA", "autoencoder"}
    for row in finding.table.values():
        assert list(row) == ["mean", "0", "1", "2"]
        assert row["mean"] == pytest.approx(sum(row[name] for name in "012") / 3)
        assert row["mean"] > 0.8, "digits are easily told apart"
    assert finding.numbers["autoencoder_auroc_mean"] == finding.table["autoencoder"]["mean"]


def test_areas_are_those_of_scikit_learn(context):
    labels = context.yard.test.labels
    scores = torch.rand(len(labels), 2, generator=torch.Generator().manual_seed(0))
    found = areas(scores, labels, ("a", "b"))
    for kind, name in enumerate("ab"):
        expected = roc_auc_score((labels != kind).numpy(), scores[:, kind].numpy())
        assert found[name] == pytest.approx(expected)


def test_drawn_are_the_worst_of_the_class_and_the_best_of_the_others(context):
    test = context.yard.test
    scores = torch.arange(len(test)).float()[:, None]
    own = (test.labels == 0).nonzero().flatten()
    others = (test.labels != 0).nonzero().flatten()
    rows = extremes(scores, test, normal=True)[0] * 255
    torch.testing.assert_close(rows, test.images[own.flip(0)[:10]].float())
    rows = extremes(scores, test, normal=False)[0] * 255
    torch.testing.assert_close(rows, test.images[others[:10]].float())


def test_a_class_of_few_images_is_not_filled_up_with_others(context):
    labels = context.yard.test.labels.clone()
    rare = (labels == 0).nonzero().flatten()
    labels[rare[4:]] = 1
    test = Split(context.yard.test.images, labels)
    rows = extremes(torch.arange(len(test)).float()[:, None], test, normal=True)[0] * 255
    torch.testing.assert_close(rows[:4], test.images[rare[:4].flip(0)].float())
    assert rows.shape[0] == 10
    assert not rows[4:].any()


def test_a_perfect_ranking_is_drawn_as_a_corner():
    curve = roc(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([False, True, True]), "x")
    assert set(curve.y) == {1.0}
    assert (curve.x[0], curve.x[-1]) == (0.0, 1.0)


def test_pictures_are_drawn(finding, drawn):
    assert set(drawn(finding)) == {"roc", "strangest", "missed", "redrawn"}


def test_data_without_classes_are_refused(unlabelled):
    with pytest.raises(LatentlabError, match="the data have no classes"):
        Anomalies().run(unlabelled)
