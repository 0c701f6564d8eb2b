"""The source digits."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits as sklearn_digits

from latentlab.data.settings import DataSettings
from latentlab.data.sources import load_source


def test_digits_equal_those_of_scikit_learn() -> None:
    source = load_source(DataSettings(name="digits"), Path("."))
    expected = sklearn_digits()
    np.testing.assert_allclose(
        source.train.pixels[:, 0] / 255 * 16, expected.images, atol=0.5 * 16 / 255
    )
    np.testing.assert_array_equal(source.train.labels, expected.target)
    assert source.train.pixels.max() == 255
    assert source.test is None
