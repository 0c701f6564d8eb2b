"""The 1797 handwritten digits of 8 × 8 pixels in scikit-learn. No network is needed.

E. Alpaydin, C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI (its test part).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source

MAX_LEVEL = 16  # a pixel counts the black dots in a block of 4 × 4 dots of the scanned bitmap


def load(settings: DataSettings, root: Path) -> Source:
    """Return 1797 images uint8 (1, 8, 8). The values 0…16 are scaled to 0…255 and rounded."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    pixels = np.round(bunch.images * (255 / MAX_LEVEL)).astype(np.uint8)[:, None]
    images = Images(pixels, bunch.target.astype(np.int64), range(len(pixels)))
    return Source("digits", images, None, tuple("0123456789"))
