"""Pictures checked pixel by pixel against arrays laid out by hand, curves against their numbers."""

import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab import charts, plots
from latentlab.contracts import LatentlabError
from latentlab.report import curves
from latentlab.report.curves import compact, curves_svg


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def flat(*levels, size=2, channels=1):
    """One constant image per level: (N, C, size, size)."""
    return torch.tensor(levels, dtype=torch.float32)[:, None, None, None].expand(
        -1, channels, size, size
    )


def test_grid_lies_row_by_row_enlarged_with_transparent_gaps(tmp_path):
    plots.save_grid(flat(0.0, 0.2, 1.0), tmp_path / "g.png", columns=2, scale=3, pad=1)
    grey, alpha = np.moveaxis(pixels(tmp_path / "g.png"), -1, 0)
    assert grey.shape == (15, 15)  # (2 + 1 + 2 pixels) × 3
    expected = np.zeros((5, 5), int)
    expected[0:2, 3:5], expected[3:5, 0:2] = 51, 255
    shown = np.zeros((5, 5), int)
    shown[0:2, 0:2] = shown[0:2, 3:5] = shown[3:5, 0:2] = 255
    np.testing.assert_array_equal(grey, np.kron(expected, np.ones((3, 3), int)))
    np.testing.assert_array_equal(alpha, np.kron(shown, np.ones((3, 3), int)))


def test_colour_keeps_its_channels_and_values_outside_clip(tmp_path):
    image = torch.tensor([-0.5, 0.5, 1.5]).reshape(1, 3, 1, 1)
    plots.save_grid(image, tmp_path / "c.png", columns=1, scale=1)
    assert pixels(tmp_path / "c.png").tolist() == [[[0, 128, 255, 255]]]


@pytest.mark.parametrize(("size", "shown"), [(8, 64), (28, 56), (32, 64), (64, 64), (200, 200)])
def test_scale_left_open_brings_an_image_near_64_pixels(tmp_path, size, shown):
    plots.save_grid(torch.zeros(1, 1, size, size), tmp_path / "s.png", columns=1)
    assert pixels(tmp_path / "s.png").shape[:2] == (shown, shown)


def test_pairs_put_each_original_above_its_reconstruction(tmp_path):
    originals, reconstructions = flat(0.2, 0.4, 0.6), flat(0.3, 0.5, 0.7)
    plots.save_pairs(originals, reconstructions, tmp_path / "p.png", columns=2, scale=1)
    grey = pixels(tmp_path / "p.png")[..., 0]
    assert grey.shape == (4 * 2 + 1 + 3 + 1, 5)
    np.testing.assert_array_equal(grey[[0, 3, 8, 11], 0], [51, 76, 153, 178])
    np.testing.assert_array_equal(grey[[0, 3, 8, 11], 4], [102, 128, 0, 0])


def test_rows_stay_rows(tmp_path):
    rows = torch.arange(6).div(5).reshape(2, 3, 1, 1, 1)
    plots.save_rows(rows, tmp_path / "r.png", scale=1, pad=0)
    assert pixels(tmp_path / "r.png")[..., 0].tolist() == [[0, 51, 102], [153, 204, 255]]


def test_equal_input_gives_equal_bytes_and_leaves_one_file(tmp_path):
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    points, labels = torch.randn(60, 2), torch.arange(60) % 12
    for folder in ("a", "b"):
        plots.save_grid(images, tmp_path / folder / "g.png", columns=3)
        charts.save_map(points, labels, None, tmp_path / folder / "m.png")
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == ["g.png", "m.png"]
    for name in ("g.png", "m.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\); pass \(N, C, H, W\)"),
        (torch.zeros(1, 2, 8, 8), "C = 1 or 3"),
        (torch.zeros(0, 1, 8, 8), "N ≥ 1"),
        (torch.full((1, 1, 2, 2), math.nan), "NaN or infinity"),
    ],
)
def test_pictures_refuse_what_is_no_stack_of_images(tmp_path, images, match):
    with pytest.raises(LatentlabError, match=match):
        plots.save_grid(images, tmp_path / "x.png", columns=1)
    assert not list(tmp_path.iterdir())


def test_sheets_refuse_impossible_layouts(tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(LatentlabError, match="columns=0"):
        plots.save_grid(flat(0.0), path, columns=0)
    with pytest.raises(LatentlabError, match="columns=-1"):
        plots.save_pairs(flat(0.0), flat(0.0), path, columns=-1)
    with pytest.raises(LatentlabError, match="scale=0"):
        plots.save_grid(flat(0.0), path, columns=1, scale=0)
    with pytest.raises(LatentlabError, match="differ in shape"):
        plots.save_pairs(flat(0.0), flat(0.0, 1.0), path)
    with pytest.raises(LatentlabError, match=r"\(R, K, C, H, W\)"):
        plots.save_rows(flat(0.0), path)


def test_unscaled_finds_the_picture_below_an_enlargement(tmp_path):
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    plots.save_grid(images, tmp_path / "big.png", columns=3, scale=6)
    plots.save_grid(images, tmp_path / "small.png", columns=3, scale=1)
    small, width, height = plots.unscaled((tmp_path / "big.png").read_bytes())
    assert (width, height) == (26, 17)
    np.testing.assert_array_equal(pixels(io.BytesIO(small)), pixels(tmp_path / "small.png"))
    assert plots.unscaled(small)[0] == small
    with pytest.raises(LatentlabError, match="not a readable PNG"):
        plots.unscaled(b"GIF89a")


def test_map_shows_every_class_on_a_clear_background(tmp_path):
    angle = torch.linspace(0, 2 * math.pi, 401)[:-1]
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.arange(400) * 10 // 400
    charts.save_map(circle, labels, [f"class {k}" for k in range(10)], tmp_path / "m.png")
    rgb, alpha = np.split(pixels(tmp_path / "m.png").astype(int), [3], axis=-1)
    assert alpha[0, 0] == 0
    rgb[alpha[..., 0] < 150] = -99
    for colour in charts.PALETTE:
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(rgb - wanted).max(-1) < 25).sum() > 20, colour


def test_map_draws_both_axes_to_one_scale(tmp_path):
    angle = torch.linspace(0, 2 * math.pi, 400)
    ellipse = torch.stack([3 * angle.cos(), angle.sin()], 1)
    charts.save_map(ellipse, None, None, tmp_path / "m.png")
    height, width = np.ptp(np.argwhere(pixels(tmp_path / "m.png")[..., 3]), axis=0)
    assert width / height == pytest.approx(3, rel=0.1)  # the dots have a size of their own


def test_map_without_labels_and_with_names_that_look_like_markup(tmp_path):
    points = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    charts.save_map(points, None, None, tmp_path / "plain.png")
    names = ["$\\frac", "<b>", "_x", "a much longer name than any legend would want to hold"]
    charts.save_map(points, torch.arange(30) % 4, names, tmp_path / "names.png")
    assert pixels(tmp_path / "plain.png").shape == pixels(tmp_path / "names.png").shape
    with pytest.raises(LatentlabError, match=r"pass \(N, 2\)"):
        charts.save_map(torch.zeros(4, 3), None, None, tmp_path / "x.png")
    with pytest.raises(LatentlabError, match="one label per point"):
        charts.save_map(points, torch.zeros(3), None, tmp_path / "x.png")
    with pytest.raises(LatentlabError, match="NaN or infinity"):
        charts.save_map(points / 0, None, None, tmp_path / "x.png")


def parsed(svg):
    root = ET.fromstring(svg)  # well-formed, or this raises
    return root, root.findall("svg")


def line(box, split):
    """The drawn polyline of a split as an array of (x, y) in pixels."""
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
    drawn = line(boxes[0], "train")
    slope_x, slope_y = np.diff(drawn[:, 0]), np.diff(drawn[:, 1])
    np.testing.assert_allclose(slope_x, slope_x[0], atol=0.11)
    np.testing.assert_allclose(slope_y, slope_y[0], atol=0.11)
    assert slope_x[0] > 0
    assert slope_y[0] > 0  # falling values go down the screen
    assert line(boxes[0], "val")[0, 1] == pytest.approx(drawn[2, 1], abs=0.11)  # both are 3.0
    tips = [t.text for t in boxes[0].iter("title")]
    assert "train loss 5 at 0 images seen" in tips
    assert "val loss 3 at 300 images seen" in tips
    assert texts(boxes[0], "end") == ["train", "val"]
    assert any("images seen" in text for text in texts(boxes[0]))


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


def test_values_that_are_not_finite_are_told_not_drawn():
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
    drawn = line(box, "train")
    assert len(drawn) == curves.MAX_POINTS
    assert drawn[0, 0] == curves.LEFT
    assert drawn[-1, 0] == curves.WIDTH - curves.RIGHT
    assert len(list(box.iter("title"))) == curves.MAX_TIPS


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (-3, "−3"), (9999, "9999"), (60000, "60k"), (3.1e6, "3.1M")],
)
def test_compact_numbers(value, text):
    assert compact(value) == text


def test_a_plot_is_told_from_a_sheet_of_images(tmp_path):
    plots.save_grid(torch.rand(9, 1, 4, 4), tmp_path / "sheet.png", columns=3)
    charts.save_map(torch.randn(50, 2), None, None, tmp_path / "plot.png")
    assert not plots.is_plot((tmp_path / "sheet.png").read_bytes())
    assert plots.is_plot((tmp_path / "plot.png").read_bytes())
