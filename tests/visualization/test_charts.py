"""Charts: their pixels have the expected colors, and do not depend on a user's settings."""

import math

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.utils.errors import LatentlabError
from latentlab.visualization import charts
from latentlab.visualization.charts import Curve, save_curves, save_scatter


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("logarithmic", ["", "x", "xy"])
def test_curves_have_a_transparent_background_and_the_same_bytes_each_time(tmp_path, logarithmic):
    curves = [Curve("a $5 one", [1, 10], [0.0, 1.0], [0.1, 0.1]), Curve("b" * 40, [2, 5], [1, 0])]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, width in zip(paths, (1, 9), strict=True):
        with mpl.rc_context({"lines.linewidth": width, "axes.facecolor": "red"}):
            save_curves(curves, path, x="x", y="y", logarithmic=logarithmic)
    assert paths[0].read_bytes() == paths[1].read_bytes(), "a user's settings change nothing"
    image = pixels(paths[0])
    assert image.shape[2] == 4
    assert (image[:5, :5, 3] == 0).all()
    blue, orange = (63, 144, 218), (255, 169, 14)
    for color in (blue, orange):
        near = (np.abs(image[..., :3].astype(int) - color).max(2) < 12) & (image[..., 3] > 200)
        assert near.sum() > 100


def test_an_error_while_plotting_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), charts.chart(tmp_path / "c.png"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_scatter_plot_shows_every_class_on_a_transparent_background(tmp_path):
    angle = torch.linspace(0, 2 * math.pi, 401)[:-1]
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.arange(400) * 10 // 400
    save_scatter(circle, labels, [f"class {k}" for k in range(10)], tmp_path / "m.png")
    rgb, alpha = np.split(pixels(tmp_path / "m.png").astype(int), [3], axis=-1)
    assert alpha[0, 0] == 0
    rgb[alpha[..., 0] < 150] = -99
    for color in charts.PALETTE:
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(rgb - wanted).max(-1) < 25).sum() > 20, color


def test_both_axes_of_a_scatter_plot_have_one_scale(tmp_path):
    angle = torch.linspace(0, 2 * math.pi, 400)
    ellipse = torch.stack([3 * angle.cos(), angle.sin()], 1)
    save_scatter(ellipse, None, None, tmp_path / "m.png")
    height, width = np.ptp(np.argwhere(pixels(tmp_path / "m.png")[..., 3]), axis=0)
    assert width / height == pytest.approx(3, rel=0.1)  # dots have a size of their own


def test_scatter_plot_accepts_no_labels_and_names_that_look_like_markup(tmp_path):
    points = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    save_scatter(points, None, None, tmp_path / "plain.png")
    names = ["$\\frac", "<b>", "_x", "a much longer name than any legend would want to hold"]
    save_scatter(points, torch.arange(30) % 4, names, tmp_path / "names.png")
    assert pixels(tmp_path / "plain.png").shape == pixels(tmp_path / "names.png").shape
    with pytest.raises(LatentlabError, match=r"pass \(N, 2\)"):
        save_scatter(torch.zeros(4, 3), None, None, tmp_path / "x.png")
    with pytest.raises(LatentlabError, match="one label per point"):
        save_scatter(points, torch.zeros(3), None, tmp_path / "x.png")
    with pytest.raises(LatentlabError, match="NaN or infinity"):
        save_scatter(points / 0, None, None, tmp_path / "x.png")
