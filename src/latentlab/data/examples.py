"""Some training images of each class, for a picture of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import to_float
from latentlab.data.partition import Part
from latentlab.data.preprocessing import preprocess_images
from latentlab.data.settings import DataSettings

COLUMNS = 8  # images of one class
MAX_ROWS = 20  # classes
MAX_SIZE = 48  # pixels: the picture stays small


def example_images(train: Part, classes: Sequence[str] | None, settings: DataSettings) -> Tensor:
    """Return rows of training images, float32 (R · 8, C, H, W) in [0, 1].

    Row r has the first images of class r, for at most 20 classes; a row that is not full ends with
    white images. Without labels, the rows are the first 40 images.
    """
    if classes is None or train.labels is None:
        count = min(5 * COLUMNS, len(train.rows))
        rows = [np.arange(start, min(start + COLUMNS, count)) for start in range(0, count, COLUMNS)]
    else:
        labels = train.labels
        shown = range(min(MAX_ROWS, len(classes)))
        rows = [np.flatnonzero(labels == label)[:COLUMNS] for label in shown]
    return torch.cat([_row(train, places, settings) for places in rows])


def _row(train: Part, places: np.ndarray, settings: DataSettings) -> Tensor:
    pixels = train.images.pixels
    size = min(settings.size or pixels.shape[-1], MAX_SIZE)
    blank = np.full((1, *pixels.shape[1:]), 255, np.uint8)
    found = [pixels[train.rows[places]], np.repeat(blank, COLUMNS - len(places), 0)]
    small = preprocess_images(np.concatenate(found), size, settings.channels, settings.pixels)
    return to_float(torch.from_numpy(np.ascontiguousarray(small)))
