"""ROC and average precision against scikit-learn, ties among them."""

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from latentlab.contracts import LatentlabError
from latentlab.metrics.ranking import auroc, average_precision, roc_curve


def _ranking(levels, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (300,), generator=generator).float()
    return scores, torch.rand(300, generator=generator) < (scores + 1) / (2 * levels)


@pytest.mark.parametrize("levels", [2, 10, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_areas_are_those_of_scikit_learn(levels, seed):
    scores, positive = _ranking(levels, seed)
    pair = positive.numpy(), scores.numpy()
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(*pair), abs=1e-12)
    expected = average_precision_score(*pair)
    assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)


def test_the_curve_is_that_of_scikit_learn():
    scores, positive = _ranking(7, 3)
    false, true = roc_curve(scores, positive)
    expected = reference_curve(positive.numpy(), scores.numpy(), drop_intermediate=False)
    torch.testing.assert_close(false, torch.from_numpy(expected[0]))
    torch.testing.assert_close(true, torch.from_numpy(expected[1]))


def test_what_cannot_be_ranked_is_refused():
    ones = torch.ones(3, dtype=torch.bool)
    with pytest.raises(LatentlabError, match="3 positive and 0 negative images"):
        auroc(torch.rand(3), ones)
    with pytest.raises(LatentlabError, match="at least one positive image"):
        average_precision(torch.rand(3), ~ones)
    with pytest.raises(LatentlabError, match=r"pass \(N,\) of both"):
        auroc(torch.rand(3, 1), ones)
