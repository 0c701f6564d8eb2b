"""The classification accuracy score on images whose class is their intensity."""

import pytest
import torch

from latentlab.contracts import Split
from latentlab.diagnostics.metrics.classification_accuracy_score import (
    classification_accuracy_score,
)
from latentlab.utils.errors import LatentlabError


def test_score_is_1_for_correct_labels_and_0_for_wrong_labels():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    x = torch.rand(200, 1, 4, 4, generator=g) / 2 + y[:, None, None, None] / 2
    test = Split((255 * x).to(torch.uint8), y)
    state = torch.get_rng_state()
    budget = {"steps": 200, "max_epochs": 100}
    assert classification_accuracy_score(x, y, test, **budget) == 1
    assert classification_accuracy_score(x, 1 - y, test, **budget) == 0
    assert torch.equal(torch.get_rng_state(), state), "the global random state does not change"
    with pytest.raises(LatentlabError, match="pass one label per image"):
        classification_accuracy_score(x, y[:5], test)


@pytest.mark.parametrize(("count", "expected"), [(1, 13), (128, 13), (129, 26), (3500, 30)])
def test_few_images_get_at_most_13_epochs(monkeypatch, count, expected):
    steps = []
    step = torch.optim.Adam.step

    def counted(self):
        steps.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    x, y = torch.rand(count, 1, 2, 2), torch.arange(count) % 2
    test = Split((255 * x).to(torch.uint8), y)
    classification_accuracy_score(x, y, test, hidden=2, steps=30)
    rates = [1e-3 * (1 - step / expected) for step in range(expected)]
    assert steps == pytest.approx(rates)
