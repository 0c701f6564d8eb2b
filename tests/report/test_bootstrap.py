"""The bootstrap against the central limit theorem, and of many columns at once."""

import numpy as np
import pytest

from latentlab.report.bootstrap import paired_interval, paired_intervals


def test_the_bootstrap_is_that_of_the_central_limit_theorem():
    """For many values, the bootstrap of the mean is mean ± 1.96 standard errors."""
    values = np.random.default_rng(0).exponential(size=5000)
    low, high = paired_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_intervals_of_many_columns_are_those_of_each_one():
    rng = np.random.default_rng(1)
    columns = np.stack([rng.normal(size=300), rng.integers(-1, 2, 300)], 1)
    expected = [paired_interval(column) for column in columns.T.astype(np.float64)]
    np.testing.assert_allclose(paired_intervals(columns).T, expected, atol=1e-12)
