"""The best assignment of categories to labels, compared with all permutations."""

import itertools

import pytest
import torch

from latentlab.diagnostics.metrics.assignment import best_assignment, contingency_table
from latentlab.utils.errors import LatentlabError


@pytest.mark.parametrize("seed", range(5))
def test_best_assignment_equals_the_best_of_all_permutations(seed):
    g = torch.Generator().manual_seed(seed)
    categories, labels = torch.randint(0, 5, (2, 200), generator=g)
    table = contingency_table(categories, labels)
    match = best_assignment(table)
    agreed = sum(int(table[category, label]) for category, label in match.items())
    every = (
        sum(int((labels[categories == i] == label).sum()) for i, label in enumerate(order))
        for order in itertools.permutations(range(5))
    )
    assert agreed == max(every)
    assert sorted(match.values()) == list(range(5))


def test_with_more_categories_than_labels_some_categories_have_no_label():
    table = contingency_table(torch.tensor([0, 1, 2, 2, 2]), torch.tensor([1, 0, 0, 0, 1]))
    assert table.tolist() == [[0, 1], [1, 0], [2, 1]]
    match = best_assignment(table)
    assert match == {0: 1, 2: 0}
    assert {type(number) for pair in match.items() for number in pair} == {int}


def test_categories_and_labels_that_do_not_occur_have_counts_of_0():
    table = contingency_table(torch.tensor([3, 1, 3]), torch.tensor([1, 2, 1]))
    assert table.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize(
    ("categories", "labels"),
    [([0, 1], [0]), ([], []), ([[0]], [[0]]), ([0, 1], [0, -1]), ([0, -1], [0, 1])],
)
def test_contingency_table_requires_a_category_and_a_label_for_each_image(categories, labels):
    with pytest.raises(LatentlabError, match=r"pass one of each|negative"):
        contingency_table(torch.tensor(categories).long(), torch.tensor(labels).long())
