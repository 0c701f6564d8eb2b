"""The HTML of one result."""

import re

from latentlab.evaluation.results import StoredResult
from latentlab.report.components import result_html


def stored(**values):
    content = {"table": {}, "metrics": {}, "warnings": [], "figures": []} | values
    return StoredResult("x", "X", "", **content)


def test_decimal_points_of_a_column_are_aligned_and_no_value_is_rounded_to_zero():
    table = {
        "plain": {"auroc": 1.0, "sse": 12.5, "modes": 25.0},
        "regularized": {"auroc": 0.99891, "sse": 3e-12, "modes": 1024.0},
        "other": {"auroc": 0.5, "sse": -4.0, "modes": -0.0},
        "fourth": {"auroc": 0.25},
    }
    cells = re.findall(r"<td>([^<]+)</td>", result_html(stored(table=table)))
    expected = "1.0000 12.500 25, 0.9989 3.0e−12 1,024, 0.5000 −4.000 0, 0.2500 – –"
    assert cells == [cell for row in expected.split(", ") for cell in row.split()]


def test_metrics_of_the_table_are_not_repeated_below_it():
    html = result_html(stored(table={"a": {"sse": 2.5}}, metrics={"a_sse": 2.5, "gain": 0.125}))
    assert re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", html) == [("gain", "0.1250")]


def test_warnings_are_shown_and_escaped():
    html = result_html(stored(warnings=["3 < 4 modes"]))
    assert '<p class="warning">3 &lt; 4 modes</p>' in html
