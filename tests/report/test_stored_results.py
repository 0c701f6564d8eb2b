"""A diagnostic or a task as text and pictures."""

import math

import pytest

from latentlab.evaluation.results import StoredResult
from latentlab.report.pictures import Pictures
from latentlab.report.stored_results import result_view


@pytest.mark.parametrize("value", [0.25, math.nan])
def test_metrics_that_the_table_has_are_not_repeated(value):
    result = StoredResult(
        "x", "X", "", {"noise": {"residual_variance": 3.5}}, {"a": 3.5, "b_nats": value}, [], []
    )
    view = result_view(result, Pictures())
    assert view["table"] == [["noise", "3.500"]]
    assert view["columns"] == ["Residual variance"]
    assert view["metrics"] == [["B (nats)", "0.2500" if value == 0.25 else "–"]]
