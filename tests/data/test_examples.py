"""The picture of the data: one row for each class, of training images."""

import numpy as np
import torch

from latentlab.data.examples import COLUMNS, MAX_ROWS, MAX_SIZE, example_images
from latentlab.data.partition import Part
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images


def part(count: int, labels, side: int = 4) -> Part:
    """Image i has the grey level i everywhere; the rows are in reverse order."""
    pixels = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, side, side)
    )
    return Part(Images(pixels, labels, range(count)), np.arange(count)[::-1], np.arange(count))


def test_a_row_has_images_of_its_class_and_ends_white() -> None:
    labels = np.array([0, 1] * 10 + [2])
    x = example_images(part(21, labels), ("a", "b", "c"), DataSettings())
    assert x.shape == (3 * COLUMNS, 1, 4, 4)
    levels = (x[:, 0, 0, 0] * 255).round().int().reshape(3, COLUMNS).tolist()
    assert levels == [
        [18, 16, 14, 12, 10, 8, 6, 4],
        [19, 17, 15, 13, 11, 9, 7, 5],
        [20] + [255] * 7,
    ]


def test_without_labels_the_first_images_are_shown() -> None:
    x = example_images(part(11, None), None, DataSettings())
    levels = (x[:, 0, 0, 0] * 255).round().int().tolist()
    assert levels == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0] + [255] * 5


def test_large_images_and_many_classes_make_a_small_picture() -> None:
    labels = np.arange(50)
    x = example_images(part(50, labels, side=100), [str(n) for n in labels], DataSettings())
    assert x.shape == (MAX_ROWS * COLUMNS, 1, MAX_SIZE, MAX_SIZE)
    assert isinstance(x, torch.Tensor)
