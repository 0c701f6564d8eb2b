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
    assert classification_accuracy_score(x, y, test, steps=200) == 1
    assert classification_accuracy_score(x, 1 - y, test, steps=200) == 0
    assert torch.equal(torch.get_rng_state(), state), "the global random state does not change"
    with pytest.raises(LatentlabError, match="pass one label per image"):
        classification_accuracy_score(x, y[:5], test)
