"""Equal images are found by their pixels, wherever they are."""

import networkx as nx
import numpy as np

from latentlab.data import duplicates
from latentlab.data.duplicates import connected, count_duplicates, fingerprints, groups_cut


def test_fingerprints_are_equal_where_pixels_are(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, (300, 1, 2, 3), dtype=np.uint8)
    monkeypatch.setattr(duplicates, "BLOCK_BYTES", 40)  # several blocks
    prints = fingerprints([pixels[:100], pixels[100:]])
    flat = pixels.reshape(300, -1)
    equal = (flat[:, None] == flat[None]).all(-1)
    np.testing.assert_array_equal(prints[:, None] == prints[None], equal)


def test_connected_units_are_those_of_a_graph() -> None:
    rng = np.random.default_rng(1)
    keys = [rng.integers(0, 60, 80), rng.integers(0, 60, 80).astype(str)]
    graph = nx.Graph()
    graph.add_nodes_from(range(80))
    for key in keys:
        graph.add_edges_from((i, j) for i in range(80) for j in range(i) if key[i] == key[j])
    units = connected(*keys)
    expected = {frozenset(part) for part in nx.connected_components(graph)}
    assert {frozenset(np.flatnonzero(units == u).tolist()) for u in set(units)} == expected


def test_copies_are_counted_by_split_and_class() -> None:
    prints = np.array([7, 7, 7, 8, 8, 9, 5, 5])
    splits = np.array(["train", "test", "test", "val", "test", "test", "train", "train"])
    labels = np.array([0, 0, 0, 1, 1, 2, 0, 1])
    found = count_duplicates(prints, splits, labels, list("abcdefgh"))
    assert (found.copies, found.test, found.val, found.classes) == (4, 3, 0, 2)
    assert set(found.examples) == {("a", "b"), ("d", "e"), ("g", "h")}
    without = count_duplicates(prints, splits, None, list("abcdefgh"))
    assert (without.classes, without.test) == (0, 3)


def test_validation_images_seen_in_training() -> None:
    found = count_duplicates(np.array([1, 1]), np.array(["train", "val"]), None, ["a", "b"])
    assert (found.test, found.val, found.copies) == (0, 1, 1)


def test_groups_in_several_splits() -> None:
    splits = np.array(["train", "test", "train", "train", "test"])
    assert groups_cut(["p1", "p1", "p2", "", ""], splits) == ["p1"]
