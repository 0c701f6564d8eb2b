"""The quantile of Student's t, against SciPy."""

import pytest
from scipy.special import stdtrit

from latentlab.report.student_t import t_quantile


@pytest.mark.parametrize("freedom", [1, 1.01, 1.5, 2, 2.7, 3, 9, 29.5, 1000, 1e5])
def test_the_quantile_equals_that_of_scipy(freedom):
    assert t_quantile(freedom) == pytest.approx(float(stdtrit(freedom, 0.975)), rel=1e-9)
