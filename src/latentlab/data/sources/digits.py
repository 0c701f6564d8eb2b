"""The 1797 handwritten digits of 8 × 8 pixels that ship inside scikit-learn: no network needed.

E. Alpaydin, C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI (its test part).
"""

from __future__ import annotations

import numpy as np

from latentlab.data.sources import Images, Source

INK_LEVELS = 16  # each pixel counts the black dots in a 4 × 4 block of the scanned bitmap


def load_digits() -> Source:
    """1797 images uint8 (1, 8, 8); scikit-learn's 0…16 are stretched to 0…255 and rounded."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    pixels = np.round(bunch.images * (255 / INK_LEVELS)).astype(np.uint8)[:, None]
    images = Images(pixels, bunch.target.astype(np.int64), range(len(pixels)))
    return Source("digits", images, None, tuple("0123456789"))
