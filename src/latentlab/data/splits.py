"""Train, validation and test: drawn once from a seed, with equal class shares in every part."""

from __future__ import annotations

import numpy as np
import torch

from latentlab.contracts import LatentlabError

SPLITS = ("train", "val", "test")


def draw_splits(
    count: int,
    labels: np.ndarray | None,
    *,
    val_fraction: float,
    test_fraction: float | None,
    generator: torch.Generator,
) -> dict[str, np.ndarray]:
    """Deal the indices 0…count−1 to the parts; `test_fraction` None deals no test part.

    `labels`: int (count,) or None; with labels every class gets its proportional share, to within
    one image. A part takes round(fraction · count) images, at least one, and lists them in random
    order, so that its first n are a fair sample. Returns {part: int64 indices}.

    Raises:
        LatentlabError: nothing would be left to train on.
    """
    order = torch.randperm(count, generator=generator).numpy()
    parts: dict[str, np.ndarray] = {}
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if fraction is None:
            continue
        wanted = max(1, round(fraction * count))
        if wanted >= len(order):
            needed = 2 if test_fraction is None else 3
            raise LatentlabError(
                f"{count} image(s) cannot fill {needed} non-empty parts with val_fraction "
                f"{val_fraction} and test_fraction {test_fraction}: add images or lower the "
                f"fractions; {needed} images are the least."
            )
        chosen = _stratified(order, labels, wanted, generator)
        parts[name], order = order[chosen], order[~chosen]
    parts["train"] = order
    return parts


def _stratified(
    order: np.ndarray, labels: np.ndarray | None, wanted: int, generator: torch.Generator
) -> np.ndarray:
    """Mark `wanted` of the shuffled indices, by class in proportion (largest remainders win)."""
    chosen = np.zeros(len(order), bool)
    if labels is None:
        chosen[:wanted] = True
        return chosen
    labels = labels[order]
    classes, sizes = np.unique(labels, return_counts=True)
    quota, remainder = np.divmod(sizes * wanted, len(order))
    # Equal remainders are the rule (balanced sets): chance, not the class number, decides.
    lot = torch.randperm(len(classes), generator=generator).numpy()
    winners = lot[np.argsort(-remainder[lot], kind="stable")][: wanted - quota.sum()]
    quota[winners] += 1
    for label, share in zip(classes, quota, strict=True):
        chosen[np.flatnonzero(labels == label)[:share]] = True
    return chosen
