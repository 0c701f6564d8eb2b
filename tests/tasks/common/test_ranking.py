"""ROC curve and average precision against scikit-learn, also with equal scores."""

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from latentlab.tasks.common.ranking import auroc, average_precision, roc_curve
from latentlab.utils.errors import LatentlabError


def _ranking(levels, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (300,), generator=generator).float()
    return scores, torch.rand(300, generator=generator) < (scores + 1) / (2 * levels)


@pytest.mark.parametrize("levels", [2, 10, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_auroc_and_average_precision_are_those_of_scikit_learn(levels, seed):
    scores, positive = _ranking(levels, seed)
    pair = positive.numpy(), scores.numpy()
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(*pair), abs=1e-12)
    expected = average_precision_score(*pair)
    assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)


def test_roc_curve_is_that_of_scikit_learn():
    scores, positive = _ranking(7, 3)
    false, true = roc_curve(scores, positive)
    expected = reference_curve(positive.numpy(), scores.numpy(), drop_intermediate=False)
    torch.testing.assert_close(false, torch.from_numpy(expected[0]))
    torch.testing.assert_close(true, torch.from_numpy(expected[1]))


def test_invalid_scores_are_refused():
    ones = torch.ones(3, dtype=torch.bool)
    with pytest.raises(LatentlabError, match="3 positive and 0 negative images"):
        auroc(torch.rand(3), ones)
    with pytest.raises(
        LatentlabError, match="0 positive images: average precision needs at least one"
    ):
        average_precision(torch.rand(3), ~ones)
    with pytest.raises(LatentlabError, match=r"both must have the shape \(N,\)"):
        auroc(torch.rand(3, 1), ones)
