"""Images that are equal or belong together, and where the splits separate them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentlab.data.disk_array import DiskArray

BLOCK_BYTES = 2**20  # of images that are in memory
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Duplicates:
    """Images with equal pixels.

    Attributes:
        copies: images that equal an earlier one.
        test: test images that equal a training or validation image.
        val: validation images that equal a training image.
        classes: images that equal an image of another class.
        examples: pairs of names, for `test`, `val` and `classes`.
    """

    copies: int = 0
    test: int = 0
    val: int = 0
    classes: int = 0
    examples: tuple[tuple[str, str], ...] = ()


def fingerprints(arrays: Sequence[np.ndarray | DiskArray]) -> np.ndarray:
    """int64 (N,) for the images (n, C, H, W) of all arrays: equal numbers mean equal pixels.

    They are compared by BLAKE2 checksums of 128 bits.
    """
    digests = np.empty(sum(len(array) for array in arrays), "V16")
    row = 0
    for array in arrays:
        size = max(1, BLOCK_BYTES // math.prod(array.shape[1:]))
        for start in range(0, len(array), size):
            block = np.ascontiguousarray(array[start : start + size])
            for image in block:
                digests[row] = hashlib.blake2b(image.data, digest_size=16).digest()
                row += 1
    return np.unique(digests, return_inverse=True)[1]


def connected(*keys: np.ndarray) -> np.ndarray:
    """int (N,): the unit of each image. Images that share a value of any key (N,) have one unit."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, nodes, size = len(keys[0]), [], len(keys[0])
    for key in keys:
        nodes.append(np.unique(key, return_inverse=True)[1] + size)
        size = int(nodes[-1].max(initial=size - 1)) + 1
    rows = np.tile(np.arange(count), len(keys))
    graph = coo_array((np.ones(len(rows), bool), (rows, np.concatenate(nodes))), (size, size))
    return connected_components(graph, directed=False)[1][:count]


def count_duplicates(
    prints: np.ndarray, splits: np.ndarray, labels: np.ndarray | None, names: Sequence[object]
) -> Duplicates:
    """Count equal images. All arguments are (N,): fingerprints, splits, labels or None, names."""
    _, prints, sizes = np.unique(prints, return_inverse=True, return_counts=True)
    order = np.argsort(prints, kind="stable")
    repeated = [rows for rows in np.split(order, np.cumsum(sizes)[:-1]) if len(rows) > 1]
    test = val = classes = 0
    examples: list[tuple[str, str]] = []
    for rows in repeated:
        here = splits[rows]
        in_train, in_val = (here == "train").any(), (here == "val").any()
        test += int((here == "test").sum()) if in_train or in_val else 0
        val += int((here == "val").sum()) if in_train else 0
        differ = here != here[0]
        if labels is not None and (other := labels[rows] != labels[rows[0]]).any():
            classes += len(rows)
            differ |= other
        if differ.any() and len(examples) < MAX_EXAMPLES:
            examples.append((str(names[rows[0]]), str(names[rows[differ][0]])))
    copies = int(sum(len(rows) - 1 for rows in repeated))
    return Duplicates(copies, test, val, classes, tuple(examples))


def groups_cut(groups: Sequence[str], splits: np.ndarray) -> list[str]:
    """The groups, "" excepted, whose images are in several splits."""
    found: dict[str, set[str]] = {}
    for group, split in zip(groups, splits.tolist(), strict=True):
        if group:
            found.setdefault(group, set()).add(split)
    return sorted(group for group, inside in found.items() if len(inside) > 1)
