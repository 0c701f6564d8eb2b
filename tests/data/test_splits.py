"""The splits are a partition, stratified, in random order, and fixed by the seed."""

import numpy as np
import pytest
import torch

from latentlab.data.splits import split_indices
from latentlab.utils.errors import LatentlabError


def split(count, labels=None, seed=0, val=0.1, test=0.2, units=None):
    generator = torch.Generator().manual_seed(seed)
    fractions = {"val_fraction": val, "test_fraction": test}
    return split_indices(count, labels, **fractions, generator=generator, units=units)


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
        with pytest.raises(LatentlabError, match=rf"{count} images? cannot fill 3 splits"):
            split(count)


def test_each_class_keeps_a_training_image() -> None:
    """Also rare classes, for every seed: a class of one image is trained on."""
    labels = np.repeat(np.arange(45), [10] * 40 + [1] * 5)
    for seed in range(100):
        parts = split(len(labels), labels, seed=seed)
        assert np.bincount(labels[parts["train"]], minlength=45).min() >= 1
        assert (len(parts["test"]), len(parts["val"])) == (81, 40)
    few = np.repeat(np.arange(50), [4] * 20 + [2] * 30)
    for seed in range(20):
        assert set(few[split(len(few), few, seed=seed, val=0.2)["train"]]) == set(range(50))


def test_classes_of_one_image_each_are_split_like_images_without_labels() -> None:
    parts = split(50, np.arange(50))
    assert {name: len(rows) for name, rows in parts.items()} == {"test": 10, "val": 5, "train": 35}


def test_a_copy_does_not_stop_classes_of_one_image_each() -> None:
    """A unit of two images, in two classes: the split is that without labels."""
    units = np.arange(50)
    units[1] = 0
    parts = split(50, np.arange(50), units=units)
    assert {name: len(rows) for name, rows in parts.items()} == {"test": 10, "val": 5, "train": 35}
    assert any({0, 1} <= set(rows.tolist()) for rows in parts.values())


@pytest.mark.parametrize("grouped", [True, False])
def test_a_split_is_smaller_rather_than_with_the_last_image_of_a_class(grouped) -> None:
    """Wanted are 10 test images; 3 of 47 classes have two images."""
    labels = np.repeat(np.arange(47), [2] * 3 + [1] * 44)
    units = np.arange(50)
    units[49] = units[48] if grouped else 49
    parts = split(50, labels, units=units)
    assert len(parts["test"]) == 3
    left = np.concatenate([parts["train"], parts["val"]])
    assert set(labels[left]) == set(range(47))


@pytest.mark.parametrize("labelled", [True, False])
def test_units_stay_in_one_split(labelled) -> None:
    rng = np.random.default_rng(3)
    units = np.concatenate([rng.integers(0, 150, 600), 1000 + np.arange(400)])
    labels = units % 5 if labelled else None
    generator = torch.Generator().manual_seed(1)
    parts = split_indices(
        1000, labels, val_fraction=0.1, test_fraction=0.2, generator=generator, units=units
    )
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))
    inside = [set(units[rows]) for rows in parts.values()]
    assert not any(a & b for i, a in enumerate(inside) for b in inside[i + 1 :])
    assert 180 <= len(parts["test"]) <= 200
    assert 90 <= len(parts["val"]) <= 100
    if labels is not None:
        got, left = np.bincount(labels[parts["test"]]), np.bincount(labels)
        assert np.abs(got - 0.2 * left).max() < 8  # a unit has up to ten images


def test_units_of_one_image_change_nothing() -> None:
    labels = np.arange(300) % 7
    generator = torch.Generator().manual_seed(5)
    parts = split_indices(
        300, labels, val_fraction=0.1, test_fraction=0.2, generator=generator,
        units=np.arange(300)[::-1],
    )  # fmt: skip
    plain = split(300, labels, seed=5)
    assert all(np.array_equal(parts[name], plain[name]) for name in plain)


def test_a_unit_larger_than_a_split_is_its_only_one_or_an_error() -> None:
    generator = torch.Generator()
    fractions = {"val_fraction": 0.1, "test_fraction": 0.1, "generator": generator}
    parts = split_indices(40, None, units=np.arange(40) // 10, **fractions)
    assert {name: len(rows) for name, rows in parts.items()} == {"test": 10, "val": 10, "train": 20}
    with pytest.raises(LatentlabError, match="no group of images that belong together"):
        split_indices(40, None, units=np.zeros(40, int), **fractions)


def test_given_splits_stay_and_the_others_are_drawn_from_training_images() -> None:
    assigned = np.array(["test"] * 30 + ["train"] * 70)
    generator = torch.Generator().manual_seed(0)
    parts = split_indices(
        100, None, val_fraction=0.1, test_fraction=0.5, generator=generator, assigned=assigned
    )
    assert set(parts["test"]) == set(range(30))
    assert (len(parts["val"]), len(parts["train"])) == (7, 63)
    assert not np.array_equal(parts["test"], np.arange(30)), "the order is random"


def test_the_split_that_was_drawn_can_be_given_back() -> None:
    labels = np.arange(90) % 4
    drawn = split(90, labels, seed=2)
    assigned = np.empty(90, "U5")
    for name, rows in drawn.items():
        assigned[rows] = name
    generator = torch.Generator().manual_seed(2)
    again = split_indices(
        90, labels, val_fraction=0.3, test_fraction=0.3, generator=generator, assigned=assigned
    )
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)


def test_small_groups_are_left_for_the_other_splits() -> None:
    units = np.repeat(np.arange(4), [34, 2, 2, 2])
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        parts = split_indices(
            40, None, units=units, val_fraction=0.1, test_fraction=0.2, generator=generator
        )
        found = {name: set(units[rows].tolist()) for name, rows in parts.items()}
        assert 0 in found["train"]
        assert found["val"], "test has all small groups"
        assert not found["val"] & found["test"]
