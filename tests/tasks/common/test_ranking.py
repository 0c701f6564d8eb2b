"""ROC curve and average precision against counts of pairs, also with equal scores."""

import pytest
import torch

from latentlab.tasks.common.ranking import auroc, average_precision, roc_curve
from latentlab.utils.errors import LatentlabError


def _ranking(levels, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (300,), generator=generator).float()
    return scores, torch.rand(300, generator=generator) < (scores + 1) / (2 * levels)


@pytest.mark.parametrize("levels", [2, 10, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_auroc_is_the_share_of_pairs_in_the_right_order(levels, seed):
    scores, positive = _ranking(levels, seed)
    difference = scores[positive][:, None] - scores[~positive]
    expected = (difference > 0).double().mean() + (difference == 0).double().mean() / 2
    assert auroc(scores, positive) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("levels", [2, 10, 10_000])
def test_rates_and_average_precision_are_counted_at_each_threshold(levels):
    scores, positive = _ranking(levels, 3)
    false, true, expected, recall_before = [0.0], [0.0], 0.0, 0.0
    for threshold in scores.unique().flip(0):
        found = scores >= threshold
        false.append(float((found & ~positive).sum() / (~positive).sum()))
        true.append(float((found & positive).sum() / positive.sum()))
        expected += (true[-1] - recall_before) * float(positive[found].double().mean())
        recall_before = true[-1]
    rates = roc_curve(scores, positive)
    torch.testing.assert_close(rates[0], torch.tensor(false, dtype=torch.float64))
    torch.testing.assert_close(rates[1], torch.tensor(true, dtype=torch.float64))
    assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-6)


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
