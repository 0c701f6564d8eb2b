"""Training, validation and test split: random, fixed by a seed, stratified by class."""

from __future__ import annotations

import numpy as np
import torch

from latentlab.utils.errors import LatentlabError

SPLITS = ("train", "val", "test")


def split_indices(
    count: int,
    labels: np.ndarray | None,
    *,
    val_fraction: float,
    test_fraction: float | None,
    generator: torch.Generator,
) -> dict[str, np.ndarray]:
    """Split the indices 0…count−1 at random. Return {split: int64 indices in random order}.

    A split has round(fraction · count) images, at least one. `test_fraction` None: no test split.
    `labels`: int (count,) or None. With labels, a split contains the same fraction of every class,
    to within one image. Since the order is random, the first n indices are a random sample.

    Raises:
        LatentlabError: no images are left for training.
    """
    order = torch.randperm(count, generator=generator).numpy()
    parts: dict[str, np.ndarray] = {}
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if fraction is None:
            continue
        size = max(1, round(fraction * count))
        if size >= len(order):
            needed = 2 if test_fraction is None else 3
            raise LatentlabError(
                f"{count} image(s) cannot fill {needed} splits with val_fraction {val_fraction} "
                f"and test_fraction {test_fraction}. At least {needed} images are needed. Add "
                "images or lower the fractions."
            )
        chosen = _stratified(order, labels, size, generator)
        parts[name], order = order[chosen], order[~chosen]
    parts["train"] = order
    return parts


def _stratified(
    order: np.ndarray, labels: np.ndarray | None, size: int, generator: torch.Generator
) -> np.ndarray:
    """Select `size` of the shuffled indices, bool (N,), stratified by class.

    Classes with the largest remainders get one image more (largest remainder method).
    """
    chosen = np.zeros(len(order), bool)
    if labels is None:
        chosen[:size] = True
        return chosen
    labels = labels[order]
    classes, sizes = np.unique(labels, return_counts=True)
    quota, remainder = np.divmod(sizes * size, len(order))
    # Balanced data sets have equal remainders: a random order of the classes breaks the ties.
    tie_break = torch.randperm(len(classes), generator=generator).numpy()
    largest = tie_break[np.argsort(-remainder[tie_break], kind="stable")]
    quota[largest[: size - quota.sum()]] += 1
    for label, class_quota in zip(classes, quota, strict=True):
        chosen[np.flatnonzero(labels == label)[:class_quota]] = True
    return chosen
