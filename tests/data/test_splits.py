"""The splits are a partition, stratified, in random order, and fixed by the seed."""

import numpy as np
import pytest
import torch

from latentlab.data.splits import split_indices
from latentlab.utils.errors import LatentlabError


def split(count, labels=None, seed=0, val=0.1, test=0.2):
    generator = torch.Generator().manual_seed(seed)
    return split_indices(count, labels, val_fraction=val, test_fraction=test, generator=generator)


def test_the_splits_are_a_partition_of_the_given_sizes() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 1003)
    parts = split(1003, labels)
    assert {name: len(rows) for name, rows in parts.items()} == {
        "test": 201,
        "val": 100,
        "train": 702,
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1003))


def test_every_class_has_its_fraction_to_within_one_image() -> None:
    sizes = np.array([500, 90, 31, 9])
    labels = np.repeat(np.arange(4), sizes)
    parts = split(sizes.sum(), labels)
    got = np.bincount(labels[parts["test"]], minlength=4)
    assert np.abs(got - 0.2 * sizes).max() < 1
    left = sizes - got
    got = np.bincount(labels[parts["val"]], minlength=4)
    assert np.abs(got - len(parts["val"]) * left / left.sum()).max() < 1


def test_the_first_images_of_a_split_are_a_random_sample() -> None:
    labels = np.repeat(np.arange(10), 1000)
    for rows in split(10_000, labels).values():
        first = np.bincount(labels[rows[:500]], minlength=10)
        assert (first - 50 >= -35).all()  # five standard deviations; sorted classes would give 0


def test_the_splits_depend_only_on_the_seed() -> None:
    labels = np.arange(100) % 3
    torch.manual_seed(1)
    once = split(100, labels, seed=5)
    state = torch.get_rng_state()
    again = split(100, labels, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    assert all(np.array_equal(once[name], again[name]) for name in once)
    assert not np.array_equal(once["test"], split(100, labels, seed=6)["test"])


def test_ties_of_equal_classes_are_broken_at_random() -> None:
    labels = np.arange(100) % 10
    winners = [set(labels[split(100, labels, seed=seed, test=0.03)["test"]]) for seed in range(30)]
    assert set().union(*winners) == set(range(10))


def test_with_an_official_test_split_there_are_two_splits() -> None:
    parts = split(50, test=None)
    assert {name: len(rows) for name, rows in parts.items()} == {"val": 5, "train": 45}


def test_three_images_are_the_minimum() -> None:
    assert [len(rows) for rows in split(3).values()] == [1, 1, 1]
    for count in (0, 1, 2):
        with pytest.raises(LatentlabError, match=rf"{count} image\(s\) cannot fill 3 splits"):
            split(count)
