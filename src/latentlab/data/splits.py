"""Training, validation and test split: random, fixed by a seed, stratified by class."""

from __future__ import annotations

import numpy as np
import torch

from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted

SPLITS = ("train", "val", "test")


def split_indices(
    count: int,
    labels: np.ndarray | None,
    *,
    val_fraction: float,
    test_fraction: float | None,
    generator: torch.Generator,
    units: np.ndarray | None = None,
    assigned: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Split the indices 0…count−1 at random. Return {split: int64 indices in random order}.

    A split has round(fraction · count) images, at least one. `test_fraction` None: no test split.
    `labels`: int (count,) or None. With labels, a split contains the same fraction of every class,
    to within one image. A split is smaller rather than with the last image of a class. Only if
    each class has one image left, classes do not count, and some have no training image. Since the
    order is random, the first n indices are a random sample.

    `units`: int (count,). Images of one unit come into one split, whose size can then be smaller.
    `assigned`: (count,), the given split of each image. Splits that are not among them are drawn
    from the images of "train", and `count` in the formula is the number of these.

    Raises:
        LatentlabError: no images are left for training.
    """
    order = torch.randperm(count, generator=generator).numpy()
    parts: dict[str, np.ndarray] = {}
    if assigned is not None:
        given = {name: order[assigned[order] == name] for name in SPLITS}
        parts = {name: rows for name, rows in given.items() if len(rows) and name != "train"}
        order, count = given["train"], len(given["train"])
    wanted = {"test": test_fraction, "val": val_fraction}
    drawn = {name: fraction for name, fraction in wanted.items() if fraction and name not in parts}
    for number, (name, fraction) in enumerate(drawn.items()):
        size = split_size(fraction, count)
        if size >= len(order):
            needed = len(drawn) + 1
            raise LatentlabError(
                f"{counted(count, 'image')} cannot fill {needed} splits with val_fraction "
                f"{val_fraction} and test_fraction {test_fraction}. At least {needed} images are "
                "needed. Add images or lower the fractions."
            )
        chosen = _stratified(order, labels, size, generator, units, leave=len(drawn) - number)
        parts[name], order = order[chosen], order[~chosen]
    parts["train"] = order
    return parts


def split_size(fraction: float, count: int) -> int:
    """How many of `count` images a split has: round(fraction · count), at least one."""
    return max(1, round(fraction * count))


def _stratified(
    order: np.ndarray,
    labels: np.ndarray | None,
    size: int,
    generator: torch.Generator,
    units: np.ndarray | None,
    *,
    leave: int,
) -> np.ndarray:
    """Select about `size` of the shuffled indices, bool (N,), stratified by class.

    `leave`: how many splits are filled from the rest.
    """
    single = units is None or len(np.unique(units[order])) == len(order)
    if labels is None:
        numbers, quota = np.zeros(len(order), int), np.array([size])
    else:
        numbers = np.unique(labels[order], return_inverse=True)[1]
        quota = _quota(np.bincount(numbers), size, generator)
    if not single:
        assert units is not None
        if np.bincount(numbers).max() == 1:  # classes of one image do not count
            numbers, quota = np.zeros(len(order), int), np.array([size])
        return _whole_units(units[order], numbers, quota, leave)
    chosen = np.zeros(len(order), bool)
    for label, class_quota in enumerate(quota):
        chosen[np.flatnonzero(numbers == label)[:class_quota]] = True
    return chosen


def _quota(sizes: np.ndarray, size: int, generator: torch.Generator) -> np.ndarray:
    """Images of each class in a split of `size` images, given the images `sizes` of each class.

    Classes with the largest remainders get one image more (largest remainder method), but leave one
    image for training.
    """
    quota, remainder = np.divmod(sizes * size, sizes.sum())
    # Balanced data sets have equal remainders: a random order of the classes breaks the ties.
    tie_break = torch.randperm(len(sizes), generator=generator).numpy()
    largest = tie_break[np.argsort(-remainder[tie_break], kind="stable")]
    if sizes.max() > 1:
        while (missing := size - quota.sum()) > 0:
            largest = largest[quota[largest] < sizes[largest] - 1]
            if not len(largest):
                break  # the split is smaller
            quota[largest[:missing]] += 1
    else:
        quota[largest[: size - quota.sum()]] += 1
    return quota


def _whole_units(
    units: np.ndarray, labels: np.ndarray, quota: np.ndarray, leave: int
) -> np.ndarray:
    """Select whole units within the quota of each class, in order; else the smallest unit.

    A unit counts for the class of its first image. Each class keeps an image, and `leave` units,
    one for each split that is still to be filled, or all but one if it has fewer.
    """
    _, units, sizes = np.unique(units, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(units, kind="stable"), np.cumsum(sizes)[:-1])
    left = np.bincount(labels)  # images of each class that are not chosen
    # units of each class that are not chosen
    left_units = np.bincount(np.unique(units * len(left) + labels) % len(left))
    least_units = np.minimum(leave, left_units - 1)
    chosen = np.zeros(len(units), bool)

    def take(unit: int, limit: np.ndarray | None) -> bool:
        """Choose a unit, if it is within the limit and leaves an image of each of its classes."""
        nonlocal left, quota
        content = np.bincount(labels[members[unit]], minlength=len(left))
        own, classes = labels[members[unit][0]], content > 0
        if limit is not None and content[own] > limit[own]:
            return False
        if (left <= content)[classes].any() or (left_units <= least_units)[classes].any():
            return False
        chosen[members[unit]] = True
        left, quota = left - content, quota - content
        left_units[classes] -= 1
        return True

    in_order = dict.fromkeys(units.tolist())
    for unit in in_order:
        take(unit, quota)
    if not chosen.any() and not any(take(unit, None) for unit in np.argsort(sizes, kind="stable")):
        raise LatentlabError(
            "The images cannot be split: no group of images that belong together (equal pixels, or"
            " one group of data.split_file) leaves an image of each class for the other splits. Add"
            " images, or write the splits into data.split_file."
        )
    return chosen
