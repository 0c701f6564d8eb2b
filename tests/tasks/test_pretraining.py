import pytest
import torch

from latentlab.contracts import Split
from latentlab.tasks.pretraining import Pretraining, error_percent
from latentlab.utils.errors import LatentlabError

TASK = Pretraining(
    num_labels=(50, 200, 3000), num_repeats=2, hidden=64, pretrain_steps=100, steps=60
)


@pytest.fixture(scope="module")
def result(context):
    return TASK.run(context)


def test_numbers_of_labels_above_the_training_images_are_left_out(result):
    assert "Not measured: 3000 labels." in result.summary
    assert set(result.table) == {
        "pixels, linear probe", "from scratch", "pretrained", "pretrained, frozen"
    }  # fmt: skip
    for row in result.table.values():
        assert list(row) == ["50 labels %", "50 labels ±", "200 labels %", "200 labels ±"]
        assert max(row["50 labels %"], row["200 labels %"]) < 70, "chance is 90"
    probe = result.table["pixels, linear probe"]
    assert probe["200 labels %"] < probe["50 labels %"] < 30, "more labels, fewer errors"
    assert result.metrics["pretrained_frozen_error_50_percent"] > 0


def test_pretraining_changes_the_initial_weights_but_not_the_network(context):
    x = torch.rand(40, 64)
    scratch, again, trained = (TASK.encoder(x, steps, 0) for steps in (0, 0, 5))
    names = [name for name, _ in scratch.named_parameters()]
    assert names == [name for name, _ in trained.named_parameters()]
    assert torch.equal(scratch(x), again(x))
    assert not torch.equal(scratch(x), trained(x))


def test_the_error_is_the_percentage_of_wrong_classes():
    x = torch.eye(4)
    assert error_percent(torch.nn.Identity(), x, torch.tensor([0, 1, 2, 0])) == 25


def test_the_chart_is_saved(result, save_figures):
    assert set(save_figures(result)) == {"labels"}


def test_impossible_settings_are_refused(context, unlabelled):
    with pytest.raises(LatentlabError, match=r"corruption_level is 1.0: it must be in \[0, 1\)"):
        Pretraining(corruption_level=1.0)
    with pytest.raises(
        LatentlabError, match="num_repeats is 1: a standard deviation needs 2 or more"
    ):
        Pretraining(num_repeats=1)
    with pytest.raises(
        LatentlabError,
        match=r"num_labels is \[5, 9999\]: at least one value must be between the 10",
    ):
        Pretraining(num_labels=(5, 9999)).run(context)
    with pytest.raises(LatentlabError, match="the images have no labels"):
        TASK.run(unlabelled)


@pytest.mark.parametrize("count", [10, 37, 100])
def test_labelled_images_are_balanced_and_distinct(count):
    labels = torch.arange(10).repeat_interleave(torch.arange(10, 110, 10))
    rows = torch.arange(len(labels))
    split = Split(rows.view(-1, 1, 1, 1), labels)
    subsets = [split.balanced(count, seed=seed) for seed in (0, 0, 1)]
    sizes = torch.bincount(subsets[0].labels, minlength=10)
    assert len(subsets[0]) == count == len(subsets[0].images.unique())
    assert int(sizes.max() - sizes.min()) <= 1
    assert torch.equal(labels[subsets[0].images.flatten()], subsets[0].labels)
    assert torch.equal(subsets[0].images, subsets[1].images)
    assert not torch.equal(subsets[0].images, subsets[2].images)


def test_other_classes_replace_a_class_with_too_few_images():
    split = Split(torch.zeros(30, 1, 1, 1), torch.tensor([0] * 2 + [1] * 28))
    assert torch.bincount(split.balanced(20, seed=0).labels).tolist() == [2, 18]
