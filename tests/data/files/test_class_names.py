"""Names of classes: their order, and names that differ in little."""

import numpy as np
import pytest

from latentlab.data.files.class_names import class_notes, group_notes, labels_of
from latentlab.utils.errors import LatentlabError


def test_labels_are_numbers_of_sorted_classes() -> None:
    labels, classes = labels_of(["dog", "cat", "dog"])
    np.testing.assert_array_equal(labels, [1, 0, 1])
    assert classes == ("cat", "dog")
    labels, classes = labels_of(["10", "9", "2"])
    np.testing.assert_array_equal(labels, [2, 1, 0])
    assert classes == ("2", "9", "10")
    assert labels_of(["5.0", "-1", "10.0"])[1] == ("-1", "5.0", "10.0")
    assert labels_of(["10", "9", "x"])[1] == ("10", "9", "x")
    assert labels_of(["b", "caf\udce9"])[1] == ("b", "caf\\udce9")  # bytes that are not UTF-8
    assert labels_of(["cat", "cat"]) == labels_of(None) == (None, None)


def test_classes_whose_names_differ_in_little() -> None:
    assert class_notes(["cat", "dog"], None, "images") == class_notes(None, None, "images") == []
    assert class_notes(["a", "A", "b"], ["train", "train", "test"], "images") == [
        "'A', 'a' are 2 classes, though their names differ in little"
    ]
    assert class_notes(["1", "01", "1.0", "2"], None, "images") == [
        "'01', '1', '1.0' are 3 classes, though their names differ in little"
    ]
    with pytest.raises(LatentlabError, match=r"'cat', 'cat '\. They differ in spaces .* one name"):
        class_notes(["cat", "cat ", "dog"], None, "images")
    with pytest.raises(LatentlabError, match="images has classes whose names look the same"):
        class_notes(["caf\u00e9", "cafe\u0301"], None, "images")
    with pytest.raises(LatentlabError, match=r"'Cat', 'cat', each in splits of its own\. .* one"):
        class_notes(["cat", "dog", "Cat", "dog"], ["train", "train", "test", "test"], "images")


def test_a_class_of_images_without_labels_is_said() -> None:
    (note,) = class_notes(["cat", "dog", "Unlabeled"], None, "images")
    assert note.startswith("'Unlabeled' is a class like the others. If its images have no label")


def test_groups_that_mean_a_missing_value_are_said() -> None:
    assert group_notes(["", "p1", "NA", "none", "NA", "Nadia"]) == [
        "'NA' is a group of 2 images. If it means that the group is not known, leave the cell"
        " empty",
        "'none' is a group of 1 image. If it means that the group is not known, leave the cell"
        " empty",
    ]


def test_groups_whose_names_differ_in_little() -> None:
    assert group_notes(None) == group_notes(["", "", "p1", "p1", "p2"]) == []
    assert group_notes(["P1", "p1", "7", "007", ""]) == [
        "'007', '7' are 2 groups, though their names differ in little",
        "'P1', 'p1' are 2 groups, though their names differ in little",
    ]
