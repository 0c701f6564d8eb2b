"""Training curves as SVG: the plotted lines compared with the values of the history."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from latentlab.report import curves
from latentlab.report.curves import compact, curves_svg


def parsed(svg):
    root = ET.fromstring(svg)  # well-formed, or this raises
    return root, root.findall("svg")


def line(box, split):
    """The plotted polyline of a split as an array of (x, y) in pixels."""
    (path,) = [p for p in box.iter("path") if p.get("class") == f"line {split}"]
    return np.array([[float(n) for n in p.split()] for p in path.get("d")[1:].split("L")])


def texts(box, css="tick"):
    return [t.text for t in box.iter("text") if (t.get("class") or "").startswith(css)]


def test_curves_of_one_quantity_share_a_box_and_are_affine_in_the_values():
    train = [(100.0 * i, 5.0 - i) for i in range(4)]
    history = {"train/loss": train, "val/loss": [(300.0, 3.0)], "train/kl_nats": [(0.0, 1.0)]}
    _, boxes = parsed(curves_svg(history))
    assert len(boxes) == 2
    assert texts(boxes[0], "name") == ["loss"]
    assert texts(boxes[1], "name") == ["kl nats"]
    plotted = line(boxes[0], "train")
    slope_x, slope_y = np.diff(plotted[:, 0]), np.diff(plotted[:, 1])
    np.testing.assert_allclose(slope_x, slope_x[0], atol=0.11)
    np.testing.assert_allclose(slope_y, slope_y[0], atol=0.11)
    assert slope_x[0] > 0
    assert slope_y[0] > 0  # falling values go down the screen
    assert line(boxes[0], "val")[0, 1] == pytest.approx(plotted[2, 1], abs=0.11)  # both are 3.0
    tips = [t.text for t in boxes[0].iter("title")]
    assert "train loss 5 at 0 training images" in tips
    assert "val loss 3 at 300 training images" in tips
    assert texts(boxes[0], "end") == ["train", "val"]
    assert any("training images" in text for text in texts(boxes[0]))


def test_a_wide_positive_range_is_drawn_on_a_logarithmic_scale():
    decades = [(float(i), 10.0**i) for i in range(-1, 3)]
    _, (box,) = parsed(curves_svg({"train/loss": decades}))
    steps = np.diff(line(box, "train")[:, 1])
    np.testing.assert_allclose(steps, steps[0], atol=0.11)
    assert {"0.1", "1", "10", "100"} <= set(texts(box))
    assert any("log scale" in text for text in texts(box))
    for other in ([(0.0, -1.0), (1.0, 1000.0)], [(0.0, 10.0), (1.0, 1000.0)]):
        assert "log scale" not in curves_svg({"train/loss": other})


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 7), (0.001, 0.0012), (5, 5), (0, 60000), (-1e-9, 1e-9)]
)
def test_ticks_lie_inside_the_axis_and_are_round(low, high):
    history = {"train/x": [(0.0, float(low)), (1.0, float(high))]}
    ticks, place = curves._axis(low, high, 0.0, 1.0)
    assert 3 <= len(ticks) <= 7
    for tick in ticks:
        assert -1e-9 <= place(tick) <= 1 + 1e-9
    step = ticks[1] - ticks[0]
    assert re.fullmatch(r"[125]\.0+e.*", f"{step:.6e}")
    parsed(curves_svg(history))


def test_values_that_are_not_finite_are_counted_but_not_plotted():
    history = {
        "train/loss": [(0.0, 1.0), (1.0, math.inf), (2.0, math.nan), (3.0, 2.0)],
        "val/gone": [(0.0, math.nan)],
    }
    _, (some, none) = parsed(curves_svg(history))
    assert texts(some, "name") == ["loss (2 not finite)"]
    assert len(line(some, "train")) == 2
    assert "no finite values" in texts(none)


def test_long_curves_are_thinned_but_keep_their_ends_and_names_are_escaped():
    long = [(float(i), 1.0 + i) for i in range(5000)]
    svg = curves_svg({'train/<script>"': long}, unit="a & b")
    assert "<script>" not in svg
    _, (box,) = parsed(svg)
    plotted = line(box, "train")
    assert len(plotted) == curves.MAX_POINTS
    assert plotted[0, 0] == curves.LEFT
    assert plotted[-1, 0] == curves.WIDTH - curves.RIGHT
    assert len(list(box.iter("title"))) == curves.MAX_TIPS


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (-3, "−3"), (9999, "9999"), (60000, "60k"), (3.1e6, "3.1M")],
)
def test_compact_numbers(value, text):
    assert compact(value) == text
