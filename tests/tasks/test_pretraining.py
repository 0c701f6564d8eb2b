import pytest
import torch

from latentlab.contracts import LatentlabError
from latentlab.tasks.pretraining import Pretraining, error_percent

TASK = Pretraining(labels=(50, 200, 3000), draws=2, hidden=64, pretrain_steps=100, steps=60)


@pytest.fixture(scope="module")
def finding(context):
    return TASK.run(context)


def test_numbers_of_labels_that_are_too_many_are_left_out_and_said(finding):
    assert "Not tried with 3000 labels." in finding.text
    assert set(finding.table) == {
        "pixels, linear probe", "from scratch", "pretrained", "pretrained, frozen"
    }  # fmt: skip
    for row in finding.table.values():
        assert list(row) == ["50 labels %", "50 labels ±", "200 labels %", "200 labels ±"]
        assert max(row["50 labels %"], row["200 labels %"]) < 70, "guessing has 90"
    probe = finding.table["pixels, linear probe"]
    assert probe["200 labels %"] < probe["50 labels %"] < 30, "more labels, fewer errors"
    assert finding.numbers["pretrained_frozen_error_50_percent"] > 0


def test_pretraining_changes_where_the_network_starts_not_its_shape(context):
    x = torch.rand(40, 64)
    scratch, again, trained = (TASK.encoder(x, steps, 0) for steps in (0, 0, 5))
    names = [name for name, _ in scratch.named_parameters()]
    assert names == [name for name, _ in trained.named_parameters()]
    assert torch.equal(scratch(x), again(x))
    assert not torch.equal(scratch(x), trained(x))


def test_the_error_is_the_share_of_wrong_classes():
    x = torch.eye(4)
    assert error_percent(torch.nn.Identity(), x, torch.tensor([0, 1, 2, 0])) == 25


def test_the_chart_is_drawn(finding, drawn):
    assert set(drawn(finding)) == {"labels"}


def test_impossible_settings_are_refused(context, unlabelled):
    with pytest.raises(LatentlabError, match=r"corruption 1.0 must lie in \[0, 1\)"):
        Pretraining(corruption=1.0)
    with pytest.raises(LatentlabError, match="draws 1 be 2 or more"):
        Pretraining(draws=1)
    with pytest.raises(LatentlabError, match=r"labels \[5, 9999\]: none lies between the 10"):
        Pretraining(labels=(5, 9999)).run(context)
    with pytest.raises(LatentlabError, match="the data have no classes"):
        TASK.run(unlabelled)
